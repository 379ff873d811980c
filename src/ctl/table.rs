//! Table: rows for people, in columns.

/// Lines with the columns one below the other; the last one is not padded.
pub(super) fn table<const N: usize>(heads: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = heads.map(|head| head.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = line(&heads.map(str::to_owned), &widths);
    for row in rows {
        text.push_str(&line(row, &widths));
    }
    text
}

fn line<const N: usize>(cells: &[String; N], widths: &[usize; N]) -> String {
    let padded = cells
        .iter()
        .zip(widths)
        .map(|(cell, width)| format!("{cell:<width$}"));
    let line = padded.collect::<Vec<_>>().join("  ");
    format!("{}\n", line.trim_end())
}

/// Seconds since 1970 as people write them.
pub(super) fn time_of(seconds: u64) -> String {
    let text = couplet_proto::xmpp::time::format(seconds.saturating_mul(1000));
    // To the second: what follows says nothing.
    text.split_once('.')
        .map_or_else(|| text.clone(), |(text, _)| format!("{text}Z"))
}

/// Numbers in order as ranges: `0-3,7`; those beyond `max` ranges only as a count.
pub(super) fn ranges(ranges: &[(u16, u16)], max: usize) -> String {
    let mut joined: Vec<(u16, u16)> = Vec::new();
    for (first, last) in ranges.iter().copied() {
        match joined.last_mut() {
            Some((_, end)) if end.checked_add(1) == Some(first) => *end = last,
            _ => joined.push((first, last)),
        }
    }
    let shown = joined.iter().take(max).map(|(first, last)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    });
    let text = shown.collect::<Vec<_>>().join(",");
    match joined.len().saturating_sub(max) {
        0 => text,
        more => format!("{text} and {more} more ranges"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            ["origin-1".to_owned(), "1".to_owned()],
            ["o".to_owned(), "22".to_owned()],
        ];
        let text = table(["NAME", "N"], &rows);
        assert_eq!(text, "NAME      N\norigin-1  1\no         22\n");
        assert_eq!(table(["A", "B"], &[]), "A  B\n");
    }

    #[test]
    fn neighbours_are_one_range() {
        assert_eq!(ranges(&[(0, 1), (2, 2), (4, 4), (6, 9)], 9), "0-2,4,6-9");
        assert_eq!(ranges(&[(0, 0), (2, 2), (4, 4)], 1), "0 and 2 more ranges");
        assert_eq!(ranges(&[], 3), "");
    }
}
