//! Columns for people.

use std::io::IsTerminal;

/// How a cell stands out. The words say the same: a colour alone tells nothing to many people, or to a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Warning,
    Bad,
}

/// Text with a tone.
#[derive(Clone, Debug)]
pub(super) struct Cell(String, Tone);

impl Cell {
    pub(super) fn new(text: impl std::fmt::Display, tone: Tone) -> Self {
        Self(clean(&text.to_string()), tone)
    }
}

impl<T: std::fmt::Display> From<T> for Cell {
    fn from(text: T) -> Self {
        Cell::new(text, Tone::Plain)
    }
}

/// Names come from outside: a control character in one must not reach a terminal.
pub(super) fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// Rows of cells under a head.
pub(super) struct Columns {
    head: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Columns {
    pub(super) fn new(head: &[&'static str]) -> Self {
        Self {
            head: head.to_vec(),
            rows: Vec::new(),
        }
    }

    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// As text, each column as wide as its widest cell.
    pub(super) fn render(&self, colours: bool) -> String {
        let width = |column: usize, head: &str| {
            let cells = self
                .rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.0.chars().count());
            cells.chain([head.chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = self
            .head
            .iter()
            .enumerate()
            .map(|(column, head)| width(column, head))
            .collect();
        let mut text = String::new();
        let heads: Vec<Cell> = self.head.iter().map(Cell::from).collect();
        for row in std::iter::once(&heads).chain(&self.rows) {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let padding = " ".repeat(width.saturating_sub(cell.0.chars().count()) + 2);
                line.push_str(&paint(&cell.0, cell.1, colours));
                line.push_str(&padding);
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A text in the colour of its tone.
pub(super) fn paint(text: &str, tone: Tone, colours: bool) -> String {
    let code = match tone {
        Tone::Plain => None,
        Tone::Good => Some("32"),
        Tone::Warning => Some("33"),
        Tone::Bad => Some("1;31"),
    };
    match code.filter(|_| colours && !text.is_empty()) {
        Some(code) => format!("\x1b[{code}m{text}\x1b[0m"),
        None => text.to_owned(),
    }
}

/// Whether standard output is a terminal whose owner does not mind colours (`NO_COLOR`, no-color.org).
pub(super) fn colours() -> bool {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let able = std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    wanted && able && std::io::stdout().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_with_and_without_colours() {
        let mut columns = Columns::new(&["NAME", "STATE"]);
        columns.row(vec!["größe@host".into(), Cell::new("up", Tone::Good)]);
        columns.row(vec!["a\x1b[2J".into(), Cell::new("down", Tone::Bad)]);
        assert_eq!(
            columns.render(false),
            "NAME        STATE\ngröße@host  up\na\u{fffd}[2J       down\n"
        );
        assert!(columns.render(true).contains("\x1b[32mup\x1b[0m"));
    }
}
