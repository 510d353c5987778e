//! SHOW CONFIG: every setting of `[pgweir]`.

use super::Rows;
use crate::admin::realm::Realm;
use crate::admin::table::Type::Text;
use crate::admin::table::{Column, row};
use crate::config::Effect;

pub(super) const COLUMNS: [Column; 4] =
    [("key", Text), ("value", Text), ("default", Text), ("changeable", Text)];

pub(super) fn rows(realm: &dyn Realm) -> Rows {
    let mut settings = realm.config().general_values();
    settings.sort_by_key(|(setting, ..)| setting.name);
    let row = |(setting, value, preset): (&crate::config::Setting, String, String)| {
        row![setting.name, value, preset, if setting.effect == Effect::Reload { "yes" } else { "no" }]
    };
    settings.into_iter().map(row).collect()
}
