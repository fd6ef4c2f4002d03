//! 95 % confidence intervals of the metrics, from the counts they are computed from.
//!
//! None of them is the textbook "plus and minus two standard errors", which has no width where a
//! rate is 0 or 1, and so is sure where it has seen least. Which one it is stands beside the
//! numbers: see [`IntervalMethod`].
//!
//! A metric that compares groups is the worst of all pairs of groups, picked after the numbers were
//! known. Its end that speaks against the model is therefore the worst end of all pairs: the pair
//! with the truly largest gap is one of them, so that the truth lies beyond that end in at most
//! 2.5 % of all samples, however many groups there are. The other end is corrected for the number of
//! pairs (Bonferroni).

use std::collections::BTreeMap;

use serde::Serialize;

use crate::metrics::{Confusion, Metric, Rate};
use crate::table::Table;

/// Of more groups no interval is computed: the number of pairs grows with the square.
pub const MAX_GROUPS: usize = 256;

/// The 97.5 % point of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// How many times an interval is halved in the search for a root; after that its ends are neighbours.
const HALVINGS: usize = 1100;

/// Both ends of a 95 % confidence interval, which the value lies between.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The lower end, from 0 to 1.
    pub low: f64,
    /// The upper end, from 0 to 1.
    pub high: f64,
    /// How it was computed.
    pub method: IntervalMethod,
}

/// How an interval was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IntervalMethod {
    /// Wilson's score interval of one rate, without continuity correction (Newcombe 1998a, method 3).
    Wilson,
    /// Of the sum or difference of two independent rates, from their Wilson intervals (Newcombe
    /// 1998b, method 10).
    Newcombe,
    /// [`IntervalMethod::Newcombe`], the worst of all pairs of groups.
    NewcombeWorstPair,
    /// Koopman's score interval of the ratio of two rates (1984), the worst of all pairs of groups.
    KoopmanWorstPair,
    /// Of the area under the curve (Newcombe 2006, "Confidence intervals for an effect size measure
    /// based on the Mann-Whitney statistic", method 5).
    MannWhitney,
}

impl Metric {
    /// The interval over all rows; `None` where the value is not defined.
    pub fn interval_overall(self, table: &Table) -> Option<Interval> {
        let all = table.confusion();
        let value = self.overall(table).number?;
        let (positive, negative) = (all.true_positive(), all.false_positive());
        let (low, high, method) = match self {
            Self::Accuracy => with(wilson(all.correct(), Z)?, IntervalMethod::Wilson),
            Self::Sensitivity => with(wilson(positive, Z)?, IntervalMethod::Wilson),
            Self::Specificity => with(wilson(all.true_negative(), Z)?, IntervalMethod::Wilson),
            Self::BalancedAccuracy => {
                // (TPR + 1 - FPR) / 2: a difference, moved and halved.
                let (low, high) = newcombe(positive, negative, Z)?;
                with((f64::midpoint(low, 1.0), f64::midpoint(high, 1.0)), IntervalMethod::Newcombe)
            }
            Self::RocAuc => {
                let ends = mann_whitney(value, positive.count, negative.count, Z)?;
                with(ends, IntervalMethod::MannWhitney)
            }
            _ => return None,
        };
        Some(around(value, low, high, method))
    }

    /// The interval between the groups of a column; `None` where the value is not defined, of one
    /// group, and of more than [`MAX_GROUPS`].
    pub fn interval_between(self, groups: &BTreeMap<&str, Confusion>) -> Option<Interval> {
        if groups.len() < 2 || groups.len() > MAX_GROUPS {
            return None;
        }
        let value = self.between(groups, 0).number?;
        let rates = self.rates();
        let pairs: Vec<(Rate, Rate)> = rates.iter().flat_map(|rate| pairs(groups, *rate)).collect();
        let corrected = normal_quantile(1.0 - 0.025 / pairs.len() as f64);
        if self == Self::DemographicParityRatio {
            // Either group of a pair may be the one that is selected less.
            let worst = |z, pick: fn(f64, f64) -> f64| {
                pairs
                    .iter()
                    .filter_map(|(a, b)| koopman(*a, *b, z))
                    .map(|(l, h)| pick(l, h))
                    .reduce(f64::min)
            };
            let low = worst(Z, |low, high| low.min(1.0 / high))?;
            let high = worst(corrected, |low, high| high.min(1.0 / low))?;
            return Some(around(value, low, high, IntervalMethod::KoopmanWorstPair));
        }
        let worst = |z, pick: fn(f64, f64) -> f64| {
            pairs
                .iter()
                .filter_map(|(a, b)| newcombe(*a, *b, z))
                .map(|(l, h)| pick(l, h))
                .reduce(f64::max)
        };
        let low = worst(corrected, |low, high| low.max(-high))?;
        let high = worst(Z, |low, high| high.max(-low))?;
        Some(around(value, low, high, IntervalMethod::NewcombeWorstPair))
    }
}

fn with(ends: (f64, f64), method: IntervalMethod) -> (f64, f64, IntervalMethod) {
    (ends.0, ends.1, method)
}

/// Rounding must not put a value outside of its interval, nor an end outside of the metric's range.
fn around(value: f64, low: f64, high: f64, method: IntervalMethod) -> Interval {
    Interval { low: low.max(0.0).min(value), high: high.min(1.0).max(value), method }
}

fn pairs(groups: &BTreeMap<&str, Confusion>, rate: fn(&Confusion) -> Rate) -> Vec<(Rate, Rate)> {
    let rates: Vec<Rate> = groups.values().map(rate).collect();
    let pair = |(index, first): (usize, &Rate)| {
        rates.iter().skip(index + 1).map(|second| (*first, *second)).collect::<Vec<_>>()
    };
    rates.iter().enumerate().flat_map(pair).collect()
}

/// Wilson's score interval of a rate.
fn wilson(rate: Rate, z: f64) -> Option<(f64, f64)> {
    let (p, n) = (rate.value()?, rate.count as f64);
    let squared = z * z;
    let middle = p + squared / (2.0 * n);
    let half = z * (p * (1.0 - p) / n + squared / (4.0 * n * n)).sqrt();
    let scale = 1.0 + squared / n;
    Some((((middle - half) / scale).max(0.0), ((middle + half) / scale).min(1.0)))
}

/// Newcombe's interval of the first rate less the second.
fn newcombe(first: Rate, second: Rate, z: f64) -> Option<(f64, f64)> {
    let (a, b) = (first.value()?, second.value()?);
    let ((a_low, a_high), (b_low, b_high)) = (wilson(first, z)?, wilson(second, z)?);
    Some((a - b - (a - a_low).hypot(b_high - b), a - b + (a_high - a).hypot(b - b_low)))
}

/// Koopman's interval of the first rate over the second; from 0, and perhaps without an upper end.
fn koopman(first: Rate, second: Rate, z: f64) -> Option<(f64, f64)> {
    let (a, b) = (first.value()?, second.value()?);
    if first.hits == 0 && second.hits == 0 {
        return Some((0.0, f64::INFINITY));
    }
    // How far the rates are from the ratio, in standard errors under it: falls as the ratio grows.
    let distance = |ratio: f64, side: f64| {
        a - ratio * b - side * z * standard_error_under(ratio, first, second)
    };
    // A ratio up to infinity, as a number below 1.
    let ratio_of = |t: f64| t / (1.0 - t);
    let estimate = a / (a + b);
    let low = match first.hits {
        0 => 0.0,
        _ => ratio_of(root(0.0, estimate, |t| distance(ratio_of(t), 1.0) > 0.0)),
    };
    let high = match second.hits {
        0 => f64::INFINITY,
        _ => ratio_of(root(estimate, 1.0, |t| distance(ratio_of(t), -1.0) > 0.0)),
    };
    Some((low, high))
}

/// Standard error of `first - ratio * second` for the likeliest rates of which the ratio is true.
fn standard_error_under(ratio: f64, first: Rate, second: Rate) -> f64 {
    let [x1, n1, x2, n2] = [first.hits, first.count, second.hits, second.count].map(|n| n as f64);
    // The likelihood is greatest at the smaller root of q p^2 - r p + s.
    let (q, r, s) = (ratio * (n1 + n2), ratio * (n1 + x2) + x1 + n2, x1 + x2);
    let p2 = (2.0 * s / (r + (r * r - 4.0 * q * s).max(0.0).sqrt())).min(1.0);
    let p1 = (ratio * p2).min(1.0);
    (p1 * (1.0 - p1) / n1 + ratio * ratio * p2 * (1.0 - p2) / n2).sqrt()
}

/// The area under the curve that is just `z` standard errors from the one found, on either side.
fn mann_whitney(area: f64, positives: u64, negatives: u64, z: f64) -> Option<(f64, f64)> {
    if positives == 0 || negatives == 0 {
        return None;
    }
    let (m, n) = (positives as f64, negatives as f64);
    let less_one = f64::midpoint(m, n) - 1.0;
    let standard_error = |t: f64| {
        let spread = 1.0 + less_one * ((1.0 - t) / (2.0 - t) + t / (1.0 + t));
        (t * (1.0 - t) * spread / (m * n)).sqrt()
    };
    let low = root(0.0, area, |t| area - t > z * standard_error(t));
    let high = root(area, 1.0, |t| t - area < z * standard_error(t));
    Some((low, high))
}

/// Where `holds` stops to hold between `low`, where it does, and `high`, where it does not.
fn root(mut low: f64, mut high: f64, holds: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            break;
        }
        if holds(middle) { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

/// The point below which a standard normal variable lies with probability `p`, from 0.5 to below 1;
/// Acklam's approximation, whose relative error is below 1.2e-9.
fn normal_quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 6] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
        1.0,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 5] = [
        7.784_695_709_041_462e-3,
        3.224_671_290_700_398e-1,
        2.445_134_137_142_996,
        3.754_408_661_907_416,
        1.0,
    ];
    let horner = |x: f64, of: &[f64]| of.iter().fold(0.0, |sum, term| sum * x + term);
    if p <= 0.975_75 {
        let (q, r) = (p - 0.5, (p - 0.5) * (p - 0.5));
        return q * horner(r, &A) / horner(r, &B);
    }
    let q = (-2.0 * (1.0 - p).ln()).sqrt();
    -horner(q, &C) / horner(q, &D)
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::*;
    use crate::metrics::tests::group;

    /// Numbers of statsmodels and scipy; see `tests/data/gates/README.md`.
    fn reference(kind: &str) -> Vec<Json> {
        let text = include_str!("../tests/data/gates/intervals.json");
        let all: Json = serde_json::from_str(text).unwrap();
        all[kind].as_array().unwrap().clone()
    }

    fn rate(counts: &Json) -> Rate {
        Rate { hits: counts[0].as_u64().unwrap(), count: counts[1].as_u64().unwrap() }
    }

    #[track_caller]
    fn assert_ends(found: Option<(f64, f64)>, case: &Json, tolerance: f64) {
        let (low, high) = found.unwrap();
        let wanted = [&case["low"], &case["high"]].map(|end| end.as_f64().unwrap());
        let near = |a: f64, b: f64| (a - b).abs() <= tolerance * b.abs().max(1.0);
        assert!(near(low, wanted[0]) && near(high, wanted[1]), "{low} to {high}: {case}");
    }

    #[test]
    fn wilson_is_that_of_statsmodels() {
        for case in reference("wilson") {
            let [hits, count] = ["hits", "count"].map(|name| case[name].as_u64().unwrap());
            assert_ends(wilson(Rate { hits, count }, Z), &case, 1e-12);
        }
    }

    #[test]
    fn newcombe_is_that_of_statsmodels() {
        for case in reference("difference") {
            assert_ends(newcombe(rate(&case["first"]), rate(&case["second"]), Z), &case, 1e-12);
        }
    }

    #[test]
    fn koopman_is_that_of_statsmodels() {
        for case in reference("ratio") {
            // statsmodels stops its search for the root earlier.
            assert_ends(koopman(rate(&case["first"]), rate(&case["second"]), Z), &case, 1e-5);
        }
    }

    #[test]
    fn koopman_has_width_where_everybody_or_nobody_is_selected() {
        let all = Rate { hits: 10, count: 10 };
        let none = Rate { hits: 0, count: 10 };
        let (low, high) = koopman(all, all, Z).unwrap();
        // There the score equation can be solved by hand.
        assert!((low - 1.0 / (1.0 + Z * Z / 10.0)).abs() < 1e-9, "{low}");
        assert!((high - (1.0 + Z * Z / 10.0)).abs() < 1e-9, "{high}");
        let (low, high) = koopman(none, all, Z).unwrap();
        assert!(low == 0.0 && high > 0.2 && high < 0.4, "{high}");
        let (low, high) = koopman(all, none, Z).unwrap();
        assert!(low > 2.5 && low < 5.0 && high.is_infinite(), "{low}");
    }

    #[test]
    fn the_area_under_the_curve_is_that_of_scipy_s_root() {
        for case in reference("mann_whitney") {
            let counts = ["positives", "negatives"].map(|name| case[name].as_u64().unwrap());
            let found = mann_whitney(case["auc"].as_f64().unwrap(), counts[0], counts[1], Z);
            assert_ends(found, &case, 1e-9);
        }
        assert_eq!(mann_whitney(0.5, 0, 1, Z), None);
    }

    #[test]
    fn quantiles_are_those_of_scipy() {
        for case in reference("quantile") {
            let [p, z] = ["p", "z"].map(|name| case[name].as_f64().unwrap());
            assert!((normal_quantile(p) - z).abs() < 1e-8 * z, "{case}");
        }
        assert!((normal_quantile(0.975) - Z).abs() < 1e-8);
    }

    #[test]
    fn of_two_groups_it_is_the_interval_of_the_pair() {
        let groups = BTreeMap::from([("a", group(48, 80)), ("b", group(56, 70))]);
        let gap = Metric::DemographicParityDifference.interval_between(&groups).unwrap();
        assert!((gap.low - 0.052_431_472_402_364_98).abs() < 1e-8, "{gap:?}");
        assert!((gap.high - 0.333_872_654_036_906_14).abs() < 1e-12, "{gap:?}");
        assert_eq!(gap.method, IntervalMethod::NewcombeWorstPair);
        let ratio = Metric::DemographicParityRatio.interval_between(&groups).unwrap();
        assert!((ratio.low - 1.0 / 1.670_805_6).abs() < 1e-5, "{ratio:?}");
        assert!((ratio.high - 1.0 / 1.079_821_5).abs() < 1e-5, "{ratio:?}");
    }

    #[test]
    fn a_small_group_counts_although_another_pair_is_further_apart() {
        let two = BTreeMap::from([("a", group(500, 1000)), ("b", group(400, 1000))]);
        let mut three = two.clone();
        three.insert("c", group(5, 10));
        let metric = Metric::DemographicParityDifference;
        let (two, three) =
            (metric.interval_between(&two).unwrap(), metric.interval_between(&three).unwrap());
        assert!(two.high < 0.15 && three.high > 0.3, "{two:?} {three:?}");
        assert!(three.low < two.low, "more pairs, less sure: {two:?} {three:?}");
    }

    #[test]
    fn no_interval_where_there_is_nothing_to_compare() {
        let metric = Metric::DemographicParityDifference;
        assert_eq!(metric.interval_between(&BTreeMap::from([("a", group(1, 2))])), None);
        assert_eq!(metric.interval_between(&BTreeMap::new()), None);
        let none = BTreeMap::from([("a", group(0, 40)), ("b", group(0, 40))]);
        assert_eq!(Metric::DemographicParityRatio.interval_between(&none), None);
        let gap = metric.interval_between(&none).unwrap();
        assert!(gap.low == 0.0 && gap.high > 0.08, "{gap:?}");
        let names: Vec<String> = (0..=MAX_GROUPS).map(|n| n.to_string()).collect();
        let many = names.iter().map(|name| (name.as_str(), group(20, 40))).collect();
        assert_eq!(metric.interval_between(&many), None);
    }

    #[test]
    fn a_value_lies_in_its_interval() {
        for (a, b) in [(0, 0), (0, 40), (40, 40), (1, 39), (20, 20)] {
            let groups = BTreeMap::from([("a", group(a, 40)), ("b", group(b, 40))]);
            for metric in [Metric::DemographicParityDifference, Metric::DemographicParityRatio] {
                let Some(value) = metric.between(&groups, 0).number else { continue };
                let interval = metric.interval_between(&groups).unwrap();
                assert!(0.0 <= interval.low && interval.low <= value, "{interval:?}");
                assert!(value <= interval.high && interval.high <= 1.0, "{interval:?}");
            }
        }
    }
}
