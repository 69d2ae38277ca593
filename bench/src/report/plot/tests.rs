//! What is drawn, and how it is grouped.

use super::super::document::tests::fake;
use super::super::section::{Row, Sample};
use super::*;

fn grid(rows: usize, columns: usize) -> Table {
    Table {
        caption: "A & B".to_owned(),
        unit: "kpps".to_owned(),
        columns: (0..columns).map(|column| format!("column {column}")).collect(),
        rows: (0..rows)
            .map(|row| Row {
                name: if row == 1 { "natgw".to_owned() } else { format!("row {row}") },
                cells: (0..columns).map(|column| number(row * 10 + column + 1)).collect(),
            })
            .collect(),
        plot: Plot::Bars,
        ..Table::default()
    }
}

fn number(whole: usize) -> Cell {
    Cell::Number(f64::from(u32::try_from(whole).expect("small")))
}

#[test]
fn groups_by_column_while_there_are_colours() {
    let (groups, series) = arrange(&grid(3, 2));
    assert_eq!(groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(), ["column 0", "column 1"]);
    assert_eq!(series, ["row 0", "natgw", "row 2"]);
    assert_eq!(groups[1].bars.iter().map(|bar| bar.value).collect::<Vec<_>>(), [2.0, 12.0, 22.0]);
}

#[test]
fn groups_by_row_otherwise() {
    let (groups, series) = arrange(&grid(COLOURS + 1, 2));
    assert_eq!((groups.len(), series.len()), (COLOURS + 1, 2));
    let (groups, series) = arrange(&grid(3, 1));
    assert_eq!((groups.len(), series.len()), (3, 1));
    assert!((groups[2].bars[0].value - 21.0).abs() < 1e-9);
}

#[test]
fn leaves_out_what_is_no_number_or_has_a_unit_of_its_own() {
    let mut table = grid(2, 3);
    table.columns[2] = "loss [%]".to_owned();
    table.rows[0].cells[1] = Cell::Missing;
    table.rows[1].cells[1] = Cell::Text("x".to_owned());
    let (groups, series) = arrange(&table);
    assert_eq!(series, ["column 0"]);
    assert_eq!(groups.len(), 2);
}

#[test]
fn draws_bars_whiskers_and_names() {
    let table = &fake().sections[0].tables[0];
    let picture = svg(table).expect("numbers");
    assert!(picture.contains("Delivered at 64 B [kpps]") && picture.contains("1 flow"), "{picture}");
    assert_eq!(picture.matches(r#"class="spread" d="#).count(), 1, "one cell has a spread");
    assert!(picture.contains(">1,832<"), "{picture}");
}

#[test]
fn draws_a_bar_as_long_as_its_value() {
    let mut table = grid(2, 1);
    table.rows[0].cells[0] = Cell::Number(50.0);
    table.rows[1].cells[0] = Cell::Sample(Sample { median: 100.0, low: 100.0, high: 100.0, count: 1 });
    let picture = svg(&table).expect("numbers");
    let widths: Vec<f64> = picture
        .lines()
        .filter(|line| line.contains(r#"rx="1.5""#))
        .filter_map(|line| line.split("width=\"").nth(1)?.split('"').next()?.parse().ok())
        .collect();
    assert_eq!(widths.len(), 2);
    assert!((widths[1] / widths[0] - 2.0).abs() < 0.01, "{widths:?}");
}

#[test]
fn draws_nothing_without_numbers_or_wish() {
    assert!(svg(&Table { plot: Plot::None, ..grid(2, 2) }).is_none());
    assert!(svg(&grid(0, 0)).is_none());
}

#[test]
fn escapes_and_reserves_the_own_colour() {
    let picture = svg(&grid(3, 2)).expect("numbers");
    assert!(picture.contains("A &amp; B") && !picture.contains("A & B"));
    assert_eq!(picture.matches(r#"class="own""#).count(), 3, "a square in the legend and two bars");
}
