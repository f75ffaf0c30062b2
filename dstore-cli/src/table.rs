//! Columns of text that line up.

/// How a column lines up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Texts.
    Left,
    /// Numbers.
    Right,
}

/// Lines of a table with `indent` spaces before each; the last column is not padded.
pub(crate) fn table<const N: usize>(indent: usize, columns: [(&str, Align); N], rows: &[[String; N]]) -> Vec<String> {
    let widths: [usize; N] = std::array::from_fn(|i| {
        let cells = rows.iter().map(|row| row[i].chars().count());
        cells.chain([columns[i].0.chars().count()]).max().unwrap_or(0)
    });
    let line = |cells: [&str; N]| {
        let mut line = " ".repeat(indent);
        for (i, cell) in cells.into_iter().enumerate() {
            let width = widths[i];
            match columns[i].1 {
                Align::Right => line.push_str(&format!("{cell:>width$}")),
                Align::Left if i + 1 == N => line.push_str(cell),
                Align::Left => line.push_str(&format!("{cell:<width$}")),
            }
            if i + 1 < N {
                line.push_str("   ");
            }
        }
        line.truncate(line.trim_end().len());
        line
    };
    let head = line(columns.map(|(name, _)| name));
    let body = rows.iter().map(|row| line(std::array::from_fn(|i| row[i].as_str())));
    std::iter::once(head).chain(body).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_do_not_end_in_spaces() {
        let rows = [["a".into(), "1".into(), "x".into()], ["bbb".into(), "22".into(), String::new()]];
        let lines = table(1, [("name", Align::Left), ("n", Align::Right), ("note", Align::Left)], &rows);
        assert_eq!(lines, [" name    n   note", " a       1   x", " bbb    22"]);
    }
}
