//! The kernels as they are committed: PTX, which the driver compiles for its device.
//!
//! `scripts/cuda/compile.py` makes it from the `.cu` files beside it; its first line names the
//! sources that it was made from.

use std::io::Read;

/// Bytes of each of a kernel's parameters.
pub type KernelParameters = Vec<usize>;

const COMPRESSED: &[u8] = include_bytes!("kernels/kernels.ptx.gz");

/// The text.
pub fn ptx() -> String {
    let mut text = String::new();
    // Bytes of this binary: a failure leaves a text without kernels, which loading refuses.
    let _ = flate2::read::GzDecoder::new(COMPRESSED).read_to_string(&mut text);
    text
}

/// The kernels of a PTX text by their names.
pub fn parameters(ptx: &str) -> Vec<(String, KernelParameters)> {
    let mut kernels = Vec::new();
    for entry in ptx.split(".visible .entry ").skip(1) {
        let Some((name, rest)) = entry.split_once('(') else { continue };
        let declared = rest.split_once(')').map_or("", |(declared, _)| declared);
        let parameters = declared.split(',').filter_map(bytes_of).collect();
        kernels.push((name.to_owned(), parameters));
    }
    kernels
}

/// `.param .u32 name` or `.param .align 8 .b8 name[24]`
fn bytes_of(parameter: &str) -> Option<usize> {
    let mut words = parameter.split_whitespace().filter(|word| *word != ".param");
    let kind = match words.next()? {
        ".align" => words.nth(1)?,
        kind => kind,
    };
    let bits: usize = kind.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().ok()?;
    let name = words.next()?;
    let count = match name.split_once('[') {
        Some((_, count)) => count.trim_end_matches(']').parse().ok()?,
        None => 1,
    };
    Some(bits / 8 * count)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_committed_kernels_were_made_from_the_sources_beside_them() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/backend/cuda/kernels");
        let mut sources: Vec<_> = std::fs::read_dir(folder)
            .expect("the sources")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|ext| ext == "cu" || ext == "cuh"))
            .collect();
        sources.sort();
        let mut digest = Sha256::new();
        for path in sources {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            digest.update(name.as_bytes());
            digest.update(b"\0");
            digest.update(std::fs::read(&path).expect("a source"));
            digest.update(b"\0");
        }
        let first = ptx().lines().next().unwrap_or_default().to_owned();
        let now = format!("// sources: {:x}", digest.finalize());
        assert_eq!(first, now, "run scripts/cuda/compile.py");
    }

    #[test]
    fn parameters_are_read_with_their_sizes() {
        let text = ".visible .entry f(\n\t.param .align 8 .b8 f_param_0[24],\n\t.param .u32 f_param_1,\
                    \n\t.param .f32 f_param_2,\n\t.param .u64 f_param_3\n)\n{ }";
        assert_eq!(parameters(text), [("f".to_owned(), vec![24, 4, 4, 8])]);
    }
}
