//! `lorasweep guide`: the guides that the binary carries.

use std::fmt::Write as _;

use lorasweep::Guide;

use crate::args::GuideArgs;
use crate::exit::Exit;
use crate::output;

pub fn run(args: &GuideArgs) -> Exit {
    match args.name.as_deref().and_then(Guide::find) {
        Some(guide) => output::result(guide.text),
        None => output::result(&list(&Guide::all())),
    }
    Exit::Done
}

fn list(guides: &[Guide]) -> String {
    let width = guides.iter().map(|guide| guide.name.len()).max().unwrap_or(0);
    let mut out = String::from("Guides, in Markdown. `lorasweep guide NAME` prints one:\n\n");
    for guide in guides {
        let _ = writeln!(out, "  {:<width$}  {}", guide.name, guide.title());
    }
    out
}
