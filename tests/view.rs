//! What operators look at: advice on pools' sizes, in the console and by HTTP, and the live page.

mod support;

use std::net::SocketAddr;
use std::process::Command;
use support::cluster::Cluster;
use support::eventually;
use support::fake_server::FakeServer;
use support::messages::{self, backend};
use support::pgweir::{Config, Pgweir};
use support::process;
use support::raw::Client;

fn config() -> Config {
    Config::new(Cluster::shared()).set("stats_users", "trusty").set("stats_period", 1)
}

/// A value of the first row of SHOW ADVICE.
fn told(console: &mut Client, column: &str) -> String {
    let replies = console.query("SHOW ADVICE");
    let mut rest = &replies[0].body[2..];
    let at = (0..).find(|_| {
        let end = rest.iter().position(|byte| *byte == 0).expect("such a column");
        let found = &rest[..end] == column.as_bytes();
        rest = &rest[end + 19..];
        found
    });
    let values = replies[1].columns();
    values[at.expect("found")].clone().unwrap_or_else(|| "-".to_owned())
}

/// Three clients take turns at one server: by Little's law all of it is busy and two wait.
#[test]
fn a_pool_too_small_is_told_so() {
    let pgweir = Pgweir::start(&config().set("default_pool_size", 1));
    let mut console = Client::connect(&pgweir.target("trusty", "pgweir"));
    let mut clients: Vec<_> = (0..4).map(|_| pgweir.client()).collect();
    assert_eq!(told(&mut console, "verdict"), "unknown");
    assert!(told(&mut console, "advice").starts_with("Nothing measured yet"));
    eventually("advice", || {
        for client in &mut clients {
            client.send(&messages::query("SELECT pg_sleep(0.02)"));
        }
        clients.iter_mut().for_each(|client| drop(client.read_until_ready()));
        told(&mut console, "verdict") == "too small"
    });
    assert_eq!(
        (told(&mut console, "pool_size"), told(&mut console, "recommended")),
        ("1".into(), "2".into())
    );
    let sentence = told(&mut console, "advice");
    assert!(sentence.starts_with("Too small: ") && sentence.contains("2 would make it"), "{sentence}");
    let number = |console: &mut Client, column: &str| told(console, column).parse::<f64>().expect("a number");
    assert!(number(&mut console, "xact_us") > 15_000.0 && number(&mut console, "wait_us") > 10_000.0);
    assert!(number(&mut console, "recommended_wait_us") < number(&mut console, "expected_wait_us"));
    assert!(told(&mut console, "assumptions").contains("Allen and Cunneen"));

    let (status, body) = pgweir.http("/advice");
    assert_eq!(status, 200, "{body}");
    let json: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let pool = &json["pools"][0];
    assert_eq!((pool["database"].as_str(), pool["user"].as_str()), (Some("app"), Some("app")));
    assert_eq!((pool["verdict"].as_str(), pool["recommended"].as_u64()), (Some("too small"), Some(2)));
    assert!(pool["evidence"]["servers_busy"].as_f64() > Some(0.1), "{pool}");
    let (_, text) = pgweir.http("/advice?text");
    assert!(text.starts_with("app app: Too small: ") && text.contains("1 pools."), "{text}");
}

/// The browser that PGWEIR_CHROMIUM names, or the one that is installed.
fn browser() -> Option<String> {
    let named = std::env::var("PGWEIR_CHROMIUM").ok();
    let known = ["chromium", "chromium-browser", "google-chrome"].map(str::to_owned);
    let works =
        |name: &String| Command::new(name).arg("--version").output().is_ok_and(|out| out.status.success());
    named.into_iter().chain(known).find(works)
}

/// The page in a real browser, with a pool whose name is markup.
#[test]
fn the_page_shows_pools() {
    const HOSTILE: &str = "<img src=x onerror=\"document.title='owned'\">";
    let pgweir = Pgweir::start(&config().database("\"*\"", Cluster::shared().address()).put(
        "databases.\"*\"",
        "dbname",
        "app",
    ));
    let mut client = pgweir.client();
    let mut hostile = Client::connect(&pgweir.target("app", HOSTILE));
    client.query("CREATE TEMP TABLE t (i int)");
    hostile.query("BEGIN");
    let pool = |name: &str| {
        let told: serde_json::Value = serde_json::from_str(&pgweir.http("/pools.json").1).expect("JSON");
        let pools = told["pools"].as_array().expect("a list");
        pools.iter().find(|pool| pool["database"] == name).cloned().expect("a pool")
    };
    // What a transaction leaves is asked for behind its answer.
    eventually("pinned", || pool("app")["pins"]["temp_table"] == 1);
    let (own, other) = (pool("app"), pool(HOSTILE));
    assert_eq!((&own["clients"]["pinned"], &own["servers"]["active"]), (&1.into(), &1.into()), "{own}");
    assert_eq!((&other["servers"]["active"], &other["mode"]), (&1.into(), &"transaction".into()), "{other}");

    let Some(browser) = browser() else {
        println!("NOT TESTED in a browser: there is none; install chromium or set PGWEIR_CHROMIUM");
        return;
    };
    let home = tempfile::tempdir().expect("a directory");
    let page = Command::new(&browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "--virtual-time-budget=2000"])
        .arg(format!("--user-data-dir={}", home.path().display()))
        .arg(format!("http://127.0.0.1:{}/", pgweir.metrics_port))
        .output()
        .expect("the browser runs");
    let dom = String::from_utf8_lossy(&page.stdout);
    assert!(dom.contains("<title>pgweir</title>") && dom.contains(">running</span>"), "{dom}");
    assert!(
        dom.contains("pinned: 1 temp table") && dom.contains("class=\"pinned\" style=\"width: "),
        "{dom}"
    );
    assert!(dom.contains("&lt;img src=x onerror=") && !dom.contains("<img"), "{dom}");
}

/// `pgweir top` without a terminal tells once.
#[test]
fn top_tells_the_same() {
    let pgweir = Pgweir::start(&config());
    let _client = pgweir.client();
    let top = |place: &str| {
        Command::new(env!("CARGO_BIN_EXE_pgweir")).args(["top", place]).output().expect("it runs")
    };
    let told = top(&format!("127.0.0.1:{}", pgweir.metrics_port));
    let text = String::from_utf8_lossy(&told.stdout);
    assert!(told.status.success() && text.contains(" running ") && text.contains("\napp / app "), "{told:?}");
    let wrong = top(&format!("127.0.0.1:{}", pgweir.port));
    assert!(
        !wrong.status.success() && String::from_utf8_lossy(&wrong.stderr).contains("nothing to show from"),
        "{wrong:?}"
    );
}

/// The series of pgbouncer_exporter, by request and by request only.
#[test]
fn exporter_series_are_served_too() {
    let pgweir = Pgweir::start(&config());
    let mut client = Client::connect(&pgweir.target("app", "app").parameter("application_name", "web"));
    client.query("SELECT 1");
    assert!(pgweir.metrics().keys().all(|name| !name.starts_with("pgbouncer_")));
    pgweir.reload(&config().set("metrics_compat", "pgbouncer_exporter"));
    eventually("served", || pgweir.metrics().contains_key("pgbouncer_up"));
    let all = pgweir.metrics();
    let database =
        format!("name=\"app\",host=\"127.0.0.1\",port=\"{}\",database=\"app\"", Cluster::shared().port);
    for (name, value) in [
        ("pgbouncer_up", 1.0),
        ("pgbouncer_version_info{version=\"PgBouncer 1.26.1", 1.0),
        ("pgbouncer_pools_client_active_connections{database=\"app\",user=\"app\"}", 1.0),
        ("pgbouncer_pools_server_idle_connections{database=\"app\",user=\"app\"}", 1.0),
        ("pgbouncer_pools_client_maxwait_seconds{database=\"app\",user=\"app\"}", 0.0),
        (&format!("pgbouncer_databases_pool_size{{{database}"), 20.0),
        (&format!("pgbouncer_databases_current_connections{{{database}"), 1.0),
        ("pgbouncer_stats_totals_queries_pooled_total{database=\"app\"}", 1.0),
        ("pgbouncer_config_max_client_connections", 1000.0),
        ("pgbouncer_used_clients", 1.0),
        (
            "pgbouncer_client_connections{database=\"app\",user=\"app\",application_name=\"web\",state=\"idle\"}",
            1.0,
        ),
    ] {
        let found: Vec<_> =
            all.iter().filter(|(key, _)| key.starts_with(name)).map(|(_, value)| *value).collect();
        assert_eq!(found, [value], "{name} in {:?}", all.keys().filter(|key| key.starts_with("pgbouncer_")));
    }
    // Who has been idle since is not asked again; who hasn't is.
    let idle = Client::connect(&pgweir.target("app", "app").parameter("application_name", "cron"));
    for name in ["batch", "report"] {
        client.query(&format!("SET application_name = '{name}'"));
        eventually(name, || {
            let names: Vec<_> =
                pgweir.metrics().into_keys().filter(|key| key.starts_with("pgbouncer_client_conn")).collect();
            let found = |name: &str| names.iter().any(|key| key.contains(&format!("name=\"{name}\"")));
            names.len() == 2 && found(name) && found("cron")
        });
    }
    drop(idle);
}

/// Debian's exporter asks the console for columns that PgBouncer had once.
#[test]
fn columns_of_old_are_there_by_request() {
    let columns = |pgweir: &Pgweir, what: &str| {
        let mut console = Client::connect(&pgweir.target("trusty", "pgweir"));
        let replies = console.query(&format!("SHOW {what};"));
        (u16::from_be_bytes([replies[0].body[0], replies[0].body[1]]), replies[1].columns())
    };
    let plain = Pgweir::start(&config());
    let old =
        Pgweir::start(&config().set("metrics_compat", "pgbouncer_exporter").set("reserve_pool_size", 7));
    let (mut one, mut other) = (plain.client(), old.client());
    one.query("SELECT 1");
    other.query("SELECT 1");
    for (what, usual, last) in [("STATS", 25, "1"), ("DATABASES", 17, "7")] {
        assert_eq!(columns(&plain, what).0, usual);
        let (n, row) = columns(&old, what);
        assert_eq!((n, row.len()), (usual + 1, usize::from(usual) + 1));
        assert_eq!(row.last(), Some(&Some(last.to_owned())), "{what}");
    }
}

/// What an operator woken at night needs comes before advice on sizes: what it is, what ends it, who waits.
#[test]
fn outages_are_told_before_sizes() {
    let dead = SocketAddr::from(([127, 0, 0, 1], process::free_port()));
    let answering =
        |sqlstate, why| FakeServer::start(move |conn| conn.send(&backend::error("FATAL", sqlstate, why)));
    let (full, strict) = (answering("53300", "sorry, too many"), answering("28P01", "wrong password"));
    let config = config()
        .set("admin_users", "trusty")
        .database("dead", dead)
        .database("full", full.address())
        .database("strict", strict.address())
        .put("databases.app", "max_db_connections", 1);
    let pgweir = Pgweir::start(&config);
    let mut console = Client::connect(&pgweir.target("trusty", "pgweir"));
    let advice = |user: &str, database: &str| {
        let json: serde_json::Value = serde_json::from_str(&pgweir.http("/advice").1).expect("JSON");
        let pools = json["pools"].as_array().expect("a list").iter();
        let mut found = pools.filter(|pool| pool["user"] == user && pool["database"] == database);
        let told = found.next().map(|pool| pool["advice"].as_str().expect("a sentence").to_owned());
        told.unwrap_or_default()
    };
    let come = |user: &str, database: &str| {
        let target = pgweir.target(user, database);
        std::thread::spawn(move || Client::try_connect(&target).map(drop))
    };

    let refused = Client::try_connect(&pgweir.target("app", "strict")).map(drop).expect_err("a password");
    assert_eq!(refused.error().sqlstate(), "28P01");
    let told = advice("app", "strict");
    assert!(told.starts_with("PostgreSQL refuses the login since ") && told.ends_with("28P01)."), "{told}");

    let mut holding = pgweir.client();
    holding.query("BEGIN");
    let mut waiting = vec![come("app", "dead"), come("app", "full"), come("trusty", "app")];
    pgweir.wait_for_waiting(3);
    eventually("tried", || advice("app", "dead").starts_with("PostgreSQL can't be reached since "));
    let told = advice("app", "dead");
    assert!(told.contains(&dead.to_string()) && told.contains("; 1 client waits, for "), "{told}");
    eventually("refused", || {
        advice("app", "full").starts_with("PostgreSQL takes no more connections since ")
    });
    assert!(advice("app", "full").contains("sorry, too many (SQLSTATE 53300); 1 client waits"));
    let cap = "Other pools have all 1 places under max_db_connections";
    eventually("no place", || advice("trusty", "app").starts_with(cap));
    let shown = console.query("SHOW ADVICE").iter().map(ToString::to_string).collect::<String>();
    assert!(shown.contains("can't be reached since") && shown.contains(cap), "{shown}");
    let (_, page) = pgweir.http("/pools.json");
    assert!(page.contains("\"in_the_way\":\"PostgreSQL can't be reached since "), "{page}");
    assert!(pgweir.http("/advice?text").1.contains("dead app: PostgreSQL can't be reached since "));

    holding.query("COMMIT");
    waiting.pop().expect("three").join().expect("no panic").expect("a place");
    eventually("served", || advice("trusty", "app").starts_with("Nothing measured yet"));
    console.query("PAUSE app");
    console.query("DISABLE app");
    let both = "Paused, until RESUME app; disabled, so that nobody may log in until ENABLE app.";
    assert_eq!(advice("app", "app"), both);
    console.query("RESUME app");
    assert_eq!(advice("app", "app"), "Disabled, so that nobody may log in until ENABLE app.");
    drop(pgweir);
    waiting.into_iter().for_each(|client| drop(client.join().expect("no panic").expect_err("no server")));
    full.finish();
    strict.finish();
}
