//! Hubs that answer anything: an error or a model's files, nothing outside the cache, never a panic.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use proptest::prelude::*;

use super::*;

/// What a hub answers, in turn.
type Answers = Arc<Mutex<Vec<Vec<u8>>>>;

/// Answers every request with the next of some texts, and then with the first again.
fn serve(answers: Answers) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let Ok(asking) = stream.try_clone() else { continue };
            let lines = BufReader::new(asking).lines();
            lines.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
            let answer = {
                let mut answers = answers.lock().expect("no panic");
                answers.rotate_left(1);
                answers.last().cloned().unwrap_or_default()
            };
            // A client that has read enough may hang up.
            let _ = stream.write_all(&answer);
        }
    });
    port
}

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn file_name() -> impl Strategy<Value = String> {
    const NAMES: &[&str] = &[
        "config.json",
        INDEX,
        WEIGHTS,
        "../../../escaped",
        "/tmp/escaped",
        "a/../../escaped",
        "",
        "\u{0}",
    ];
    prop_oneof![4 => prop::sample::select(NAMES).prop_map(str::to_owned), 1 => any::<String>()]
}

/// A list of files as JSON, and what is none.
fn listing() -> impl Strategy<Value = Vec<u8>> {
    let commit = prop_oneof![
        6 => Just(COMMIT.to_owned()),
        1 => "[0-9a-f./]{0,41}",
        1 => Just("../../../../../../../../../../../escaped".to_owned()),
    ];
    prop_oneof![
        6 => (commit, prop::collection::vec(file_name(), 0..6)).prop_map(|(sha, names)| {
            let files: Vec<Value> =
                names.iter().map(|name| serde_json::json!({ "rfilename": name })).collect();
            serde_json::json!({ "sha": sha, "siblings": files }).to_string().into_bytes()
        }),
        1 => prop::collection::vec(any::<u8>(), 0..200),
        1 => (1..4000_usize).prop_map(|depth| "[".repeat(depth).into_bytes()),
    ]
}

fn etag() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => "[0-9a-f]{40}",
        1 => "[0-9a-f]{64}",
        1 => prop::sample::select(
            &["../../escaped", "a/b", "..", ".", "", "W/\"abc\"", "\"x.incomplete\""][..]
        )
        .prop_map(str::to_owned),
        1 => "[ -~]{0,20}",
    ]
}

fn header() -> impl Strategy<Value = String> {
    let length = prop_oneof![
        3 => (0..300_u64).prop_map(|length| length.to_string()),
        1 => prop::sample::select(&["-1", "18446744073709551615", "x", ""][..])
            .prop_map(str::to_owned),
    ];
    prop_oneof![
        3 => etag().prop_map(|etag| format!("ETag: {etag}")),
        2 => etag().prop_map(|etag| format!("X-Linked-Etag: {etag}")),
        2 => length.clone().prop_map(|length| format!("X-Linked-Size: {length}")),
        2 => length.prop_map(|length| format!("Content-Length: {length}")),
        1 => prop::sample::select(
            &["/x", "//127.0.0.1:1/x", "file:///etc/passwd", "http://", "%", "http://[::1"][..]
        )
        .prop_map(|place| format!("Location: {place}")),
        1 => Just("Transfer-Encoding: chunked".to_owned()),
        1 => Just("Content-Range: bytes 5-9/3".to_owned()),
        1 => "[ -~]{0,30}",
    ]
}

/// An answer, and what is none.
fn answer() -> impl Strategy<Value = Vec<u8>> {
    let status = prop::sample::select(
        &["200 OK", "206 Partial Content", "302 Found", "401 No", "404 No", "416 No", "500 x", ""]
            [..],
    );
    let whole = (prop::collection::vec(header(), 0..5), listing()).prop_map(|(headers, body)| {
        let length = format!("Content-Length: {}", body.len());
        let headers = [headers, vec![length]].concat().join("\r\n");
        [format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n").into_bytes(), body].concat()
    });
    let any_status = (status, prop::collection::vec(header(), 0..5), listing()).prop_map(
        |(status, headers, body)| {
            let headers = headers.join("\r\n");
            [format!("HTTP/1.1 {status}\r\n{headers}\r\n\r\n").into_bytes(), body].concat()
        },
    );
    prop_oneof![
        4 => whole,
        3 => any_status,
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}

/// Every file and folder below `dir`.
fn names(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { names(&path) } else { vec![path] }).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_a_hub_answers_is_refused_or_stays_within_the_cache(
        answers in prop::collection::vec(answer(), 1..4),
    ) {
        static HUB: OnceLock<(u16, Answers)> = OnceLock::new();
        let (port, answered) = HUB.get_or_init(|| {
            let answered = Arc::new(Mutex::new(Vec::new()));
            (serve(Arc::clone(&answered)), answered)
        });
        answered.lock().expect("no panic").clone_from(&answers);
        let dir = tempfile::tempdir().expect("a temporary folder");
        let cache = Cache::new(dir.path().join("a/b/c/cache"));
        let endpoint = format!("http://127.0.0.1:{port}");
        let client = Client::new(&endpoint, Some("secret".to_owned()), Duration::from_secs(1));
        let name = HubModel { repo: "org/base".to_owned(), revision: None };
        if let Ok(listing) = client.listing(&name, DEFAULT_REVISION) {
            prop_assert!(cache::is_commit(&listing.commit));
            let snapshot = cache.add(&name.repo, DEFAULT_REVISION, &listing.commit);
            let snapshot = snapshot.expect("a place in the cache");
            let url = client.address(&name, &listing.commit, WEIGHTS);
            if let Ok(facts) = client.facts(&name, WEIGHTS, &url) {
                fs::write(snapshot.blob(&facts.etag), "").expect("a blob");
                snapshot.link(WEIGHTS, &facts.etag).expect("a link");
            }
        }
        for path in names(dir.path()) {
            prop_assert!(path.starts_with(cache.folder()), "{}", path.display());
        }
    }

    #[test]
    fn an_index_of_anything_names_plain_files_or_is_refused(
        text in prop_oneof![
            prop::collection::btree_map(any::<String>(), file_name(), 0..5)
                .prop_map(|map| serde_json::json!({ "weight_map": map }).to_string().into_bytes()),
            listing(),
        ],
    ) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let index = dir.path().join(INDEX);
        fs::write(&index, text).expect("an index");
        for name in shards(&index).unwrap_or_default() {
            prop_assert_eq!(Path::new(&name).file_name(), Some(name.as_ref()));
        }
    }
}
