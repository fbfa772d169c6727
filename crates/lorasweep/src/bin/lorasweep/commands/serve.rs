//! `lorasweep serve`: the report in a browser of this machine.
//!
//! Anyone who can reach the port of this machine may be a stranger: another user, or a page in the
//! browser. Every connection is limited in size, number and time, and gets one answer.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use lorasweep::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

use crate::args::ServeArgs;
use crate::browser;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::{self, Output};

/// A page this old is shown again without asking the journal.
const FRESH: Duration = Duration::from_secs(1);
/// Connections at a time; others wait in the system's queue.
const MOST_CONNECTIONS: usize = 128;
/// A request must have come by then.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection is closed after this long, whether or not its client has read the answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(120);
/// Bytes of a request line and its headers, and the number of these.
const MOST_HEADER_BYTES: usize = 16 << 10;
const MOST_HEADERS: usize = 64;
/// Between two tries when the system gives no connection (no descriptors are left).
const PAUSE: Duration = Duration::from_millis(100);

/// What an answer's body is.
const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// A page, or why there is none.
type PageResult = Result<Bytes, String>;

pub fn run(args: &ServeArgs, output: Output) -> Result<Exit, CliError> {
    let sweep = args.sweep.open()?;
    let listening = |source: std::io::Error| CliError::Listen { port: args.port, source };
    let pages = Pages::start(output, sweep.pages(args.lang.into())?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    runtime.map_err(listening)?.block_on(async {
        // Loopback only: a sweep's data are nobody else's business.
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
        let listener = TcpListener::bind(address).await.map_err(listening)?;
        let address = format!("http://{}/", listener.local_addr().map_err(listening)?);
        output::result(&format!("The report is at {address} (Ctrl-C ends it)"));
        if std::env::var_os("SSH_CONNECTION").is_some() {
            let port = listener.local_addr().map_err(listening)?.port();
            let host = store::this_host();
            output::note(&format!(
                "To see it on your own machine, run there:\n  ssh -N -L {port}:localhost:{port} {host}\n\
                 and open http://localhost:{port}/"
            ));
        }
        if args.open {
            browser::open(&address);
        }
        LocalSet::new().run_until(accept(listener, Rc::new(pages), output)).await;
        Ok(Exit::Done)
    })
}

/// Takes connections until the program is ended.
async fn accept(listener: TcpListener, pages: Rc<Pages>, output: Output) {
    let places = Arc::new(Semaphore::new(most_connections()));
    let mut is_warned = false;
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let pages = Rc::clone(&pages);
                tokio::task::spawn_local(async move {
                    // A browser that went away or never says what it wants is nobody's loss.
                    let _ = timeout(CONNECTION_TIMEOUT, serve(stream, &pages)).await;
                    drop(place);
                });
            }
            Err(error) => {
                if !std::mem::replace(&mut is_warned, true) {
                    output.warning(&format!(
                        "a connection was not accepted ({error}); it is tried again until it can be"
                    ));
                }
                sleep(PAUSE).await;
            }
        }
    }
}

/// Half of the descriptors at most: the journal is opened for each page.
#[cfg(unix)]
fn most_connections() -> usize {
    use rustix::process::{Resource, getrlimit};
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(descriptors / 2).unwrap_or(usize::MAX).clamp(1, MOST_CONNECTIONS)
}

#[cfg(not(unix))]
fn most_connections() -> usize {
    MOST_CONNECTIONS
}

/// Answers one request of a connection.
async fn serve(stream: TcpStream, pages: &Pages) -> Result<(), hyper::Error> {
    let answer = service_fn(|request: Request<Incoming>| async move {
        Ok::<_, Infallible>(answer(&request, pages).await)
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .max_buf_size(MOST_HEADER_BYTES)
        .max_headers(MOST_HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer)
        .await
}

async fn answer<B>(request: &Request<B>, pages: &Pages) -> Response<Full<Bytes>> {
    let text = |text: &'static str| (TEXT, Bytes::from_static(text.as_bytes()));
    let (status, (kind, body)) = if !is_for_this_machine(request) {
        (StatusCode::FORBIDDEN, text("this page is for http://localhost only\n"))
    } else if !matches!(request.uri().path(), "/" | "/report.html") {
        (StatusCode::NOT_FOUND, text("not here\n"))
    } else if !matches!(*request.method(), Method::GET | Method::HEAD) {
        (StatusCode::METHOD_NOT_ALLOWED, text("this page can be read only\n"))
    } else {
        match pages.now().await {
            Ok(page) => (StatusCode::OK, (HTML, page)),
            Err(why) => (StatusCode::INTERNAL_SERVER_ERROR, (TEXT, why.into())),
        }
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A request that another site's script sends through the browser names another host: its own, also
/// where that name leads to this machine (DNS rebinding). The port may be that of a tunnel.
fn is_for_this_machine<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let name = host.to_str().ok().map(|host| {
        let (name, port) = host.rsplit_once(':').unwrap_or((host, ""));
        if port.bytes().all(|byte| byte.is_ascii_digit()) { name } else { host }
    });
    let is_own = |name: &str| {
        ["127.0.0.1", "[::1]"].contains(&name) || name.eq_ignore_ascii_case("localhost")
    };
    name.is_some_and(is_own) && request.uri().host().is_none_or(is_own)
}

/// Makes pages in a thread of its own, one at a time, so that no connection waits for another
/// one's page to be read.
struct Pages {
    ask: Sender<oneshot::Sender<PageResult>>,
}

impl Pages {
    fn start(
        output: Output,
        make: impl Fn() -> Result<String, Error> + Send + 'static,
    ) -> Result<Self, CliError> {
        let (ask, asked) = channel();
        std::thread::Builder::new()
            .name("pages".to_owned())
            .spawn(move || make_pages(&asked, output, &make))
            .map_err(Error::Thread)?;
        Ok(Self { ask })
    }

    /// The page of what the journal holds now, or a second ago.
    async fn now(&self) -> PageResult {
        let (reply, made) = oneshot::channel();
        // A thread that has ended has said why.
        let _ = self.ask.send(reply);
        made.await.unwrap_or_else(|_| Err("the page could not be made\n".to_owned()))
    }
}

fn make_pages(
    asked: &Receiver<oneshot::Sender<PageResult>>,
    output: Output,
    make: &dyn Fn() -> Result<String, Error>,
) {
    let mut shown: Option<(Instant, PageResult)> = None;
    while let Ok(reply) = asked.recv() {
        let kept = shown.take().filter(|(since, _)| since.elapsed() <= FRESH);
        let (since, page) = kept.unwrap_or_else(|| {
            let page = make().map(Bytes::from).map_err(|error| {
                output.warning(&format!("the page could not be made: {error}"));
                format!("the page could not be made: {error}\n")
            });
            (Instant::now(), page)
        });
        // A browser that went away needs no page.
        let _ = reply.send(page.clone());
        shown = Some((since, page));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_own(uri: &str, hosts: &[&str]) -> bool {
        let request = hosts
            .iter()
            .fold(Request::builder().uri(uri), |request, host| request.header(header::HOST, *host));
        is_for_this_machine(&request.body(()).expect("a request"))
    }

    #[test]
    fn only_names_of_this_machine_are_answered() {
        for host in ["localhost", "LOCALHOST:8", "127.0.0.1:8080", "[::1]:1", "[::1]"] {
            assert!(is_own("/", &[host]), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example:80", "127.0.0.1.nip.io", "", ":80"] {
            assert!(!is_own("/", &[host]), "{host}");
        }
        assert!(!is_own("/", &[]), "no host");
        assert!(!is_own("/", &["localhost", "evil.example"]), "two hosts");
        assert!(!is_own("http://evil.example/", &["localhost"]), "an address with a host");
    }
}
