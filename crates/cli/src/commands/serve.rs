//! `lorasweep serve`: the report in a browser of this machine.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use store::SweepFolder;
use tiny_http::{Header, Method, Request, Response, Server};

use crate::args::ServeArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::inputs::Settings;
use crate::live;
use crate::output::{self, Output};

/// A page this old is shown again without asking the journal.
const FRESH: Duration = Duration::from_secs(1);

/// What an answer's body is.
const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

pub fn run(args: &ServeArgs, output: Output) -> Result<Exit, CliError> {
    let folder = SweepFolder::open(&args.dir)?;
    let settings = Settings::of(&folder.identity()?)?;
    // Loopback only: a sweep's data are nobody else's business.
    let server = Server::http((IpAddr::V4(Ipv4Addr::LOCALHOST), args.port))
        .map_err(|source| CliError::Listen { port: args.port, source })?;
    let port = server.server_addr().to_ip().map_or(args.port, |address| address.port());
    let address = format!("http://127.0.0.1:{port}/");
    output::result(&format!("The report is at {address} (Ctrl-C ends it)"));
    if args.open {
        live::open(&address, output);
    }
    let mut shown: Option<(Instant, String)> = None;
    for request in server.incoming_requests() {
        let old = shown.as_ref().is_none_or(|(since, _)| since.elapsed() > FRESH);
        if old && is_for_the_page(&request, port) {
            let is_running = folder.holder()?.is_some();
            let page = live::page_now(&folder, &settings, args.lang.into(), is_running)?;
            shown = Some((Instant::now(), page));
        }
        answer(request, port, shown.as_ref().map_or("", |(_, page)| page));
    }
    Ok(Exit::Done)
}

/// A request that another site's script sends through the browser names another host.
fn is_for_the_page(request: &Request, port: u16) -> bool {
    let hosts = [format!("127.0.0.1:{port}"), format!("localhost:{port}")];
    let mut headers = request.headers().iter();
    let host = headers.find(|header| header.field.equiv("Host"));
    host.is_some_and(|host| hosts.iter().any(|own| host.value.as_str() == own))
        && matches!(request.method(), Method::Get | Method::Head)
        && matches!(request.url(), "/" | "/report.html")
}

fn answer(request: Request, port: u16, page: &str) {
    let (body, kind, status) =
        if is_for_the_page(&request, port) { (page, HTML, 200) } else { ("not here", TEXT, 404) };
    let mut response = Response::from_string(body).with_status_code(status);
    for (name, value) in [("Content-Type", kind), ("Cache-Control", "no-store")] {
        if let Ok(header) = Header::from_bytes(name, value) {
            response.add_header(header);
        }
    }
    // A browser that went away does not end the server.
    let _ = request.respond(response);
}
