//! Process groups, with commands of the shell.
#![cfg(unix)]

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use process::{Group, shell};

const LONG: Duration = Duration::from_secs(60);

/// Starts a command and waits until it has printed a line.
fn started(line: &str) -> (Child, Group, BufReader<ChildStdout>) {
    let mut child = shell(line).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    out.read_line(&mut text).unwrap();
    let group = Group::of(child.id());
    (child, group, out)
}

/// Ends a group, and is told when its output ends: nobody of it is left to write then.
fn end((mut child, group, mut out): (Child, Group, BufReader<ChildStdout>), grace: Duration) {
    group.end(grace, &mut || {
        let _ = child.try_wait();
    });
    let mut text = String::new();
    while out.read_line(&mut text).unwrap() > 0 {}
}

#[test]
fn a_command_ends_with_what_it_started() {
    end(started("sleep 600 & echo; sleep 600"), LONG);
}

#[test]
fn what_does_not_hear_the_request_is_ended_after_the_grace() {
    end(started("trap '' TERM; echo; while :; do sleep 600; done"), Duration::from_millis(50));
}

#[test]
fn a_group_that_has_ended_is_not_there_and_ending_it_again_does_nothing() {
    let (mut child, group, _out) = started("echo");
    child.wait().unwrap();
    group.end(LONG, &mut || {});
    assert!(!group.is_there());
}
