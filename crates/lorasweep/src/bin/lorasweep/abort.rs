//! What the program says when it is aborted.
//!
//! A system that gives no more memory (`ulimit -v`, a machine without overcommitment) makes Rust write
//! `memory allocation of N bytes failed` and abort. Nothing of a sweep is lost by that, no more than by
//! a kill, but it says neither that nor what to do. Rust has no stable hook for it, and an allocator of
//! our own that ended the process would take away from the trainer that a buffer may be refused and only the
//! trial fail. So the signal of the abort is caught: the program says what it can, and ends with a code.
//!
//! A stack overflow and a panic within a panic abort as well; Rust's own line before ours tells them apart.
#![expect(unsafe_code, reason = "an action within a signal handler")]

use crate::exit::Exit;

const WORDS: &str = "\
error: the program was aborted; the line before says why
help: where memory could not be allocated, raise the limit (`ulimit -v`, `--mem` of Slurm), end other programs, or
      train with a lower `max_packed`, `batch_size` or `max_seq_len`. Nothing that a sweep finished is lost:
      `lorasweep run` resumes from it
";

/// From here on an abort ends the program with words and [`Exit::Aborted`].
pub fn tell_of_aborts() {
    // SAFETY: the action makes system calls alone, which a signal handler may; it takes no lock and no
    // memory.
    let registered = unsafe { signal_hook_registry::register(libc::SIGABRT, end) };
    // Without it the program would be aborted without these words.
    drop(registered);
}

fn end() {
    // SAFETY: the bytes are those of a constant, and `write` does not keep them. `_exit` runs nothing of
    // this process any more.
    unsafe {
        libc::write(libc::STDERR_FILENO, WORDS.as_ptr().cast(), WORDS.len());
        libc::_exit(Exit::Aborted.code().into());
    }
}
