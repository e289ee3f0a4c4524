//! Numbers in JSON: as they are where they are finite, else exactly `"NaN"`, `"Infinity"` or `"-Infinity"`. For
//! `#[serde(with = "…")]`.
//!
//! MLflow reads these three texts, and `serde_json` alone would write null. Anything else that is no number (`null`, a
//! bare `NaN`, `"nan"`) makes MLflow's parser either refuse the batch or, worse, store 0.0, drop the rest of the
//! request and answer 200.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Spelt {
    Number(f64),
    Name(Name),
    /// What `serde_json` alone writes for a number that is not finite; never written.
    Null(()),
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Name {
    NaN,
    Infinity,
    #[serde(rename = "-Infinity")]
    MinusInfinity,
}

impl From<f64> for Spelt {
    fn from(value: f64) -> Self {
        if value.is_finite() {
            Spelt::Number(value)
        } else if value.is_nan() {
            Spelt::Name(Name::NaN)
        } else if value > 0.0 {
            Spelt::Name(Name::Infinity)
        } else {
            Spelt::Name(Name::MinusInfinity)
        }
    }
}

impl From<Spelt> for f64 {
    fn from(spelt: Spelt) -> Self {
        match spelt {
            Spelt::Number(value) => value,
            Spelt::Name(Name::NaN) | Spelt::Null(()) => f64::NAN,
            Spelt::Name(Name::Infinity) => f64::INFINITY,
            Spelt::Name(Name::MinusInfinity) => f64::NEG_INFINITY,
        }
    }
}

/// Writes a number or its name.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    Spelt::from(*value).serialize(serializer)
}

/// Reads a number or its name; null is NaN.
///
/// # Errors
/// Where it is neither.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Spelt::deserialize(deserializer).map(f64::from)
}

/// The same for maps of numbers.
pub mod map {
    use std::collections::BTreeMap;

    use super::{Deserialize, Deserializer, Serializer, Spelt};

    /// Writes each number or its name.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(
        values: &BTreeMap<String, f64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(values.iter().map(|(key, value)| (key, Spelt::from(*value))))
    }

    /// Reads numbers or their names.
    ///
    /// # Errors
    /// Where a value is neither.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<String, f64>, D::Error> {
        let spelt = BTreeMap::<String, Spelt>::deserialize(deserializer)?;
        Ok(spelt.into_iter().map(|(key, value)| (key, value.into())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Holder(#[serde(with = "super")] f64);

    #[test]
    fn every_f64_comes_back_as_it_was() {
        for value in [0.1, -0.0, f64::MAX, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let text = serde_json::to_string(&Holder(value)).unwrap();
            let back: Holder = serde_json::from_str(&text).unwrap();
            assert!(back.0 == value || (back.0.is_nan() && value.is_nan()), "{text}");
        }
        assert_eq!(serde_json::to_string(&Holder(f64::NAN)).unwrap(), "\"NaN\"");
        assert!(serde_json::from_str::<Holder>("null").unwrap().0.is_nan());
        assert!(serde_json::from_str::<Holder>("\"nan\"").is_err());
    }
}
