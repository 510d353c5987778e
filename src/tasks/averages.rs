//! Takes the numbers at the end of each stats_period, for the console's averages.

use crate::admin::Realm;
use crate::clock::Instant;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// Works until dropped. A changed stats_period counts from the next period on.
pub async fn run(realm: Arc<dyn Realm>) {
    loop {
        realm.desk().averages.turn(realm.metrics(), Instant::now());
        sleep(Duration::from_secs(realm.config().general.stats_period.into())).await;
    }
}
