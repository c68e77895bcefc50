//! Columns of text.

/// Rows under a head, each column as wide as its widest cell. Cells may hold color: its escape
/// sequences take no width.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    #[must_use]
    pub fn new(head: &[&str]) -> Table {
        Table {
            rows: vec![head.iter().map(|cell| (*cell).to_owned()).collect()],
        }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// One line a row, no blanks at its end.
    #[must_use]
    pub fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(|cell| width(cell)).max().unwrap_or(0)
            })
            .collect();
        let lines: Vec<String> = self
            .rows
            .iter()
            .map(|row| {
                let mut line = String::new();
                for (cell, wide) in row.iter().zip(&widths) {
                    line.push_str(cell);
                    line.extend(std::iter::repeat_n(' ', wide + 2 - width(cell)));
                }
                line.trim_end().to_owned()
            })
            .collect();
        lines.join("\n")
    }
}

/// Characters of a cell without color sequences (`ESC [ … m`).
fn width(cell: &str) -> usize {
    let mut wide = 0;
    let mut escape = false;
    for character in cell.chars() {
        match (escape, character) {
            (false, '\x1b') => escape = true,
            (true, 'm') => escape = false,
            (true, _) => {}
            (false, _) => wide += 1,
        }
    }
    wide
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn color_takes_no_width() {
        let mut table = Table::new(&["APP", "COLOR"]);
        table.row(vec!["shop".into(), "\x1b[34mblue\x1b[0m".into()]);
        assert_eq!(table.render(), "APP   COLOR\nshop  \x1b[34mblue\x1b[0m");
    }
}
