//! Metric values in JSON: a number where it is finite, else exactly `"NaN"`, `"Infinity"` or `"-Infinity"`.
//!
//! MLflow reads these three texts. Anything else that is no number (`null`, a bare `NaN`, `"nan"`) makes its parser
//! either refuse the batch or, worse, store 0.0, drop the rest of the request and answer 200.

use serde::{Deserialize, Deserializer, Serializer, de};

pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() {
        serializer.serialize_f64(*value)
    } else if value.is_nan() {
        serializer.serialize_str("NaN")
    } else if *value > 0.0 {
        serializer.serialize_str("Infinity")
    } else {
        serializer.serialize_str("-Infinity")
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Number(f64),
        Text(String),
    }
    match Form::deserialize(deserializer)? {
        Form::Number(x) => Ok(x),
        Form::Text(text) => match text.as_str() {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            _ => Err(de::Error::invalid_value(
                de::Unexpected::Str(&text),
                &"a number, \"NaN\", \"Infinity\" or \"-Infinity\"",
            )),
        },
    }
}
