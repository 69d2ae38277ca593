//! Rows of the tables in the making.

use super::oneway::OneWay;
use super::pingpong::RoundTrips;
use crate::endpoints::Delays;
use crate::report::section::{Cell, Row, Sample};

/// Heads of the columns that [`Line::row`] fills.
pub const COLUMNS: [&str; 7] = ["load, kpps", "p50", "p90", "p99", "p99.9", "max", "lost, %"];

/// What the rounds of one row found.
#[derive(Debug)]
pub struct Line {
    /// First column.
    pub name: String,
    loads: Vec<f64>,
    delays: Vec<Delays>,
    lost: Vec<f64>,
}

impl Line {
    /// Without rounds.
    pub const fn new(name: String) -> Self {
        Self { name, loads: Vec::new(), delays: Vec::new(), lost: Vec::new() }
    }

    /// Adds a round of one-way delays.
    pub fn add_oneway(&mut self, round: OneWay) {
        self.loads.push(round.sent / 1000.0);
        self.lost.push(100.0 * round.lost);
        self.delays.push(round.delays);
    }

    /// Adds a round of round trips, under a load of so many packets per second.
    pub fn add_round_trips(&mut self, round: RoundTrips, load: f64) {
        self.loads.push(load / 1000.0);
        self.lost.push(100.0 * round.lost as f64 / (round.lost + round.delays.count()) as f64);
        self.delays.push(round.delays);
    }

    /// A quantile of each round, in microseconds.
    pub fn quantiles(&self, share: f64) -> Vec<f64> {
        self.delays.iter().map(|d| d.quantile(share)).collect()
    }

    /// The row.
    pub fn row(&self) -> Row {
        let sample = |values: &[f64]| Cell::Sample(Sample::of(values));
        if self.delays.is_empty() {
            return Row { name: self.name.clone(), cells: COLUMNS.map(|_| Cell::Missing).to_vec() };
        }
        let mut cells = vec![sample(&self.loads)];
        cells.extend([0.5, 0.9, 0.99, 0.999].map(|share| sample(&self.quantiles(share))));
        cells.push(Cell::Number(self.delays.iter().map(Delays::longest).fold(0.0, f64::max)));
        cells.push(sample(&self.lost));
        Row { name: self.name.clone(), cells }
    }
}
