//! Kubernetes' numbers with units.

use serde_json::Value;

/// A quantity in its base unit; none where it is no quantity.
pub(crate) fn quantity(value: &Value) -> Option<f64> {
    if let Some(number) = value.as_f64() {
        return Some(number);
    }
    let text = value.as_str()?;
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "m" => 1e-3,
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => f64::from(1 << 10),
        "Mi" => f64::from(1 << 20),
        "Gi" => f64::from(1 << 30),
        "Ti" => f64::from(1 << 30) * 1024.0,
        _ => return None,
    };
    number.parse::<f64>().ok().map(|number| number * factor)
}

#[test]
fn quantities_have_kubernetes_units_and_no_others() {
    let of = |text: &str| quantity(&Value::from(text));
    assert_eq!(
        [of("500m"), of("4"), of("1.5Gi"), of("2k")],
        [Some(0.5), Some(4.0), Some(1_610_612_736.0), Some(2000.0)]
    );
    assert_eq!(["2Gb", "2gi", "", "Gi", "1 Gi", "-1"].map(of), [None; 6]);
}
