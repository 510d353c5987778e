//! Takes the numbers at the end of each stats_period, for the console's averages and for advice.

use crate::admin::Realm;
use crate::clock::Instant;
use crate::timer::sleep;
use std::sync::Arc;
use std::time::Duration;

/// Works until dropped. A changed stats_period counts from the next period on.
pub async fn run(realm: Arc<dyn Realm>) {
    loop {
        let now = Instant::now();
        let begun = realm.desk().averages.turn(realm.metrics(), now);
        if begun && realm.config().general.log_stats.is_on() {
            tracing::info!("{}", realm.desk().averages.line());
        }
        realm.desk().advice.turn(realm.metrics(), now);
        sleep(Duration::from_secs(realm.config().general.stats_period.into())).await;
    }
}
