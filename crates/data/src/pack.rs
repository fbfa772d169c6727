//! Joins rows of plain text, and cuts them, into sequences of the full length.

use super::Example;
use super::report::Place;
use super::said::ContentHash;
use super::split::PreparedRow;

/// The rows with those that join as sequences of `max_seq_len` tokens, in the order of their
/// first tokens; only the last may be shorter. Where a row ends, its end-of-sequence token stands.
pub(super) fn pack(rows: Vec<PreparedRow>, max_seq_len: usize) -> Vec<PreparedRow> {
    let mut packed = Vec::new();
    let mut ids: Vec<u32> = Vec::new();
    let mut place = None;
    for row in rows {
        if !row.joins {
            packed.push(row);
            continue;
        }
        place.get_or_insert(row.place);
        let before = ids.len();
        ids.extend_from_slice(&row.example.input_ids);
        let mut cut = 0;
        // The last token is never a sequence of its own: nothing would predict it.
        while ids.len() - cut > max_seq_len + 1 {
            let sequence = ids[cut..cut + max_seq_len].to_vec();
            packed.push(joined(place.unwrap_or(row.place), sequence));
            cut += max_seq_len;
            if cut >= before {
                place = Some(row.place);
            }
        }
        ids.drain(..cut);
    }
    ids.truncate(max_seq_len);
    packed.extend(place.map(|place| joined(place, ids)));
    packed
}

fn joined(place: Place, ids: Vec<u32>) -> PreparedRow {
    PreparedRow {
        place,
        hash: ContentHash::of_tokens(&ids),
        prompt_hash: None,
        joins: true,
        example: Example::of_text(ids),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(line: u64, ids: &[u32], joins: bool) -> PreparedRow {
        PreparedRow {
            place: Place { file: 0, line },
            hash: ContentHash::of_tokens(ids),
            prompt_hash: None,
            joins,
            example: Example::of_text(ids.to_vec()),
        }
    }

    #[test]
    fn texts_fill_sequences_and_other_rows_stay_as_they_are() {
        let rows = vec![
            row(1, &[1, 2, 3], true),
            row(2, &[90, 91], false),
            row(3, &[4, 5, 6, 7, 8, 9], true),
            row(4, &[10], true),
        ];
        let packed = pack(rows, 4);
        let ids: Vec<&[u32]> = packed.iter().map(|row| &row.example.input_ids[..]).collect();
        assert_eq!(ids, [&[90, 91][..], &[1, 2, 3, 4], &[5, 6, 7, 8], &[9, 10]]);
        let places: Vec<u64> = packed.iter().map(|row| row.place.line).collect();
        assert_eq!(places, [2, 1, 3, 3]);
        assert!(packed.iter().all(|row| !row.example.loss_mask[0]));
        assert!(packed.iter().all(|row| row.example.targets() + 1 == row.example.input_ids.len()));
    }

    #[test]
    fn no_token_is_lost_and_none_stands_alone() {
        for length in 2..40 {
            let rows = vec![row(1, &(0..length).collect::<Vec<_>>(), true)];
            let packed = pack(rows, 5);
            let ids = packed.iter().flat_map(|row| &row.example.input_ids).copied();
            let kept: Vec<u32> = ids.collect();
            // A single token behind whole sequences has nothing to predict it.
            let expected = if length % 5 == 1 { length - 1 } else { length };
            assert_eq!(kept, (0..expected).collect::<Vec<_>>());
            assert!(packed.iter().all(|row| (2..=5).contains(&row.example.input_ids.len())));
        }
    }
}
