use super::*;

/// Feeds tags (`Zi`, `Zt`, `Ze` for ReadyForQuery, `E` for an error) and returns the fates as letters.
fn drive(exchange: &mut Exchange<u32>, replies: &str) -> (String, Vec<u32>) {
    let (mut fates, mut broken) = (String::new(), Vec::new());
    let mut tags = replies.bytes();
    let mut note = |fate| {
        fates.push(match fate {
            Fate::Forward => 'f',
            Fate::Swallow => 's',
            Fate::PreludeFailed => 'p',
        });
    };
    while let Some(tag) = tags.next() {
        match tag {
            b'Z' => note(exchange.on_ready(tags.next().unwrap().to_ascii_uppercase())),
            b'E' => {
                let (fate, promises) = exchange.on_error();
                note(fate);
                broken.extend(promises.into_iter().map(|b| b.promise));
            }
            b'D' | b'd' | b'N' => note(exchange.passing()),
            b'.' => while exchange.take_local().is_some() {},
            tag => note(exchange.on_message(tag)),
        }
    }
    (fates, broken)
}

fn expect_all(exchange: &mut Exchange<u32>, requests: &str) {
    for (i, request) in requests.chars().enumerate() {
        let reply = match request.to_ascii_uppercase() {
            'Q' => Reply::Query,
            'F' => Reply::FunctionCall,
            'S' => Reply::Sync,
            'P' => Reply::Parse,
            'B' => Reply::Bind,
            'D' => Reply::Describe,
            'E' => Reply::Execute,
            'C' => Reply::Close,
            'X' => Reply::CopyEnd,
            other => panic!("{other}"),
        };
        let action = if request.is_lowercase() { Action::Swallow } else { Action::Forward };
        exchange.expect(reply, action);
        if matches!(reply, Reply::Parse | Reply::Close) {
            exchange.promise(i as u32);
        }
    }
}

#[test]
fn table() {
    // requests, replies, fates, broken promises, free afterwards, doubt afterwards
    #[rustfmt::skip]
    type Row = (&'static str, &'static str, &'static str, &'static [u32], bool, bool);
    let table: &[Row] = &[
        ("Q", "TDCZi", "ffff", &[], true, false),
        ("Q", "CZt", "ff", &[], false, false),
        ("Q", "TDCTDEZi", "fffffff", &[], true, false),
        ("QQ", "CZiCZi", "ffff", &[], true, false),
        ("Q", "IZi", "ff", &[], true, false),
        ("PBDES", "12TDCZi", "ffffff", &[], true, false),
        ("PDS", "1tTZi", "ffff", &[], true, false),
        ("PDS", "1tnZi", "ffff", &[], true, false),
        ("pBES", "12CZi", "sfff", &[], true, false),
        ("pBES", "EZi", "ff", &[0], true, false),
        ("PBES", "1EZi", "fff", &[], true, false),
        ("BPCPS", "EZi", "ff", &[3, 2, 1], true, false),
        ("BPSPS", "EZi1Zi", "ffff", &[1], true, false),
        ("BE", "2s", "ff", &[], false, false),
        ("BE", "E", "f", &[], false, false),
        ("BEQS", "EZi", "ff", &[], true, false),
        ("F", "VZi", "ff", &[], true, false),
        ("F", "EZi", "ff", &[], true, false),
        ("S", "EZi", "ff", &[], true, false),
        ("BESX", "2G", "ff", &[], false, false),
        ("BESX", "2GC", "fff", &[], false, false),
        ("BEXS", "2GCZi", "ffff", &[], true, false),
        ("QX", "GCZi", "fff", &[], true, false),
        ("QX", "GEZi", "fff", &[], true, false),
        ("Q", "HdcCZi", "fffff", &[], true, false),
        ("", "C", "s", &[], true, true),
        ("", "Zi", "s", &[], true, true),
        ("Q", "2", "f", &[], false, true),
        ("P", "Zi", "s", &[], true, true),
        ("Q", "CZiZi", "ffs", &[], true, true),
        ("QXX", "GCGCZi", "fffff", &[], true, false),
        ("QXQ", "EZiCZi", "ffff", &[], true, false),
        ("PS", "1Z?", "ff", &[], false, true),
        ("PBES", "12GEZi", "fffff", &[], true, true),
        ("QS", "GEZiZi", "ffff", &[], true, true),
    ];
    for (requests, replies, fates, broken, free, doubt) in table {
        let mut exchange = Exchange::default();
        expect_all(&mut exchange, requests);
        let (got, promises) = drive(&mut exchange, &replies.replace("Zi", "Zi.").replace('C', "C."));
        assert_eq!(got, *fates, "{requests} {replies}");
        assert_eq!(promises, *broken, "{requests} {replies}");
        assert_eq!(exchange.is_free(), *free, "{requests} {replies}: free");
        assert_eq!(exchange.doubt().is_some(), *doubt, "{requests} {replies}: {:?}", exchange.doubt());
        if *free {
            assert!(*doubt || exchange.promises.is_empty() && exchange.is_drained());
        }
    }
}

#[test]
fn local_replies_keep_their_place() {
    let mut x = Exchange::<u32>::default();
    x.expect(Reply::Parse, Action::Local);
    x.expect(Reply::Bind, Action::Forward);
    x.expect(Reply::Close, Action::Local);
    x.expect(Reply::Sync, Action::Forward);
    assert_eq!(x.take_local(), Some(Reply::Parse));
    assert_eq!(x.take_local(), None);
    assert_eq!(x.on_message(b'2'), Fate::Forward);
    assert_eq!(x.take_local(), Some(Reply::Close));
    assert_eq!(x.take_local(), None);
    assert_eq!(x.on_ready(b'I'), Fate::Forward);
    assert!(x.is_free());
}

#[test]
fn an_error_drops_local_replies_behind_it() {
    let mut x = Exchange::<u32>::default();
    x.expect(Reply::Bind, Action::Forward);
    x.expect(Reply::Parse, Action::Local);
    x.promise(7);
    x.expect(Reply::Sync, Action::Forward);
    assert_eq!(x.on_error(), (Fate::Forward, vec![Broken { promise: 7, ran: false }]));
    assert_eq!(x.take_local(), None);
    assert_eq!(x.on_ready(b'I'), Fate::Forward);
}

#[test]
fn copy_in_ignores_sync_until_the_data_ends() {
    let mut x = Exchange::<u32>::default();
    expect_all(&mut x, "BES");
    drive(&mut x, "2G");
    assert!(x.is_copy_in() && !x.is_drained());
    expect_all(&mut x, "XS");
    assert!(!x.is_copy_in());
    drive(&mut x, "C.Zi");
    assert!(x.is_free() && x.doubt().is_none());
}

#[test]
fn the_end_of_one_copy_is_not_the_next_one_s() {
    let mut x = Exchange::<u32>::default();
    expect_all(&mut x, "Q");
    drive(&mut x, "G");
    expect_all(&mut x, "X");
    drive(&mut x, "CG");
    assert!(x.is_copy_in());
    expect_all(&mut x, "X");
    drive(&mut x, "CZi");
    assert!(x.is_free() && x.doubt().is_none());
}

#[test]
fn a_sync_ignored_in_copy_in_leaves_the_numbers_right() {
    let mut x = Exchange::<u32>::default();
    expect_all(&mut x, "BESXS");
    drive(&mut x, "2G");
    expect_all(&mut x, "P");
    drive(&mut x, "C.Zi.");
    expect_all(&mut x, "P");
    assert_eq!(x.unsettled().count(), 0);
    assert_eq!(drive(&mut x, "1E").1, [0]);
}

#[test]
fn the_end_of_copy_data_after_its_failure_holds_nobody() {
    let mut x = Exchange::<u32>::default();
    expect_all(&mut x, "QX");
    drive(&mut x, "EZi.");
    assert!(x.is_free());
}

#[test]
fn skipping_lasts_until_a_sync() {
    let mut x = Exchange::<u32>::default();
    expect_all(&mut x, "PB");
    drive(&mut x, "E");
    assert!(x.is_skipping() && x.needs_sync() && !x.is_free());
    expect_all(&mut x, "S");
    assert!(!x.is_skipping());
    drive(&mut x, "Zt");
    assert!(!x.is_free() && x.status() == Status::Transaction);
}

#[test]
fn a_failed_prelude_is_told_apart() {
    let mut x = Exchange::<u32>::default();
    x.expect(Reply::Query, Action::Prelude);
    assert_eq!(x.passing(), Fate::Swallow);
    assert_eq!(x.on_error().0, Fate::PreludeFailed);
    assert_eq!(x.on_ready(b'I'), Fate::Swallow);
    assert!(x.is_free());
}

#[test]
fn a_request_ends_behind_its_prelude() {
    let mut chained = Exchange::<u32>::default();
    for reply in [Reply::Parse, Reply::Bind, Reply::Execute] {
        chained.expect(reply, Action::Prelude);
    }
    chained.expect(Reply::Query, Action::PreludeEnd);
    let mut glued = Exchange::<u32>::default();
    glued.expect(Reply::Query, Action::Prelude);
    for (mut x, end) in [(chained, 6), (glued, 3)] {
        x.expect(Reply::Bind, Action::Forward);
        x.expect(Reply::Sync, Action::Forward);
        x.expect(Reply::Query, Action::Forward);
        assert_eq!(x.end_of_request(), end);
    }
}

#[test]
fn earlier_batches_are_unsettled_until_answered() {
    let mut x = Exchange::default();
    expect_all(&mut x, "PSP");
    assert_eq!(x.unsettled().copied().collect::<Vec<_>>(), [0]);
    drive(&mut x, "1");
    assert_eq!(x.unsettled().count(), 0);
}
