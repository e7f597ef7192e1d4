//! The functions that reach into JSON. Where Lance ends a query because one record has
//! a value of another shape, these give null.

use std::sync::{Arc, LazyLock};

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
use arrow_schema::DataType;
use lance::deps::datafusion::common::DataFusionError;
use lance::deps::datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use lance::deps::datafusion::prelude::create_udf;
use lance_jsonb::{OwnedJsonb, RawJsonb};

/// The most bytes, and brackets in each other, of a path of JSON or a type's name.
const MAX_PATH: usize = 4096;
const MAX_BRACKETS: i32 = 16;

/// The function of a name, if it is one of these.
pub fn function(name: &str) -> Option<Arc<ScalarUDF>> {
    static FUNCTIONS: LazyLock<Vec<Arc<ScalarUDF>>> = LazyLock::new(|| {
        vec![
            getter("json_get_int", DataType::Int64, |values| {
                Arc::new(Int64Array::from_iter(
                    values.map(|value| int(value?.as_raw())),
                ))
            }),
            getter("json_get_float", DataType::Float64, |values| {
                Arc::new(Float64Array::from_iter(
                    values.map(|value| value?.as_raw().to_f64().ok()),
                ))
            }),
            getter("json_get_bool", DataType::Boolean, |values| {
                Arc::new(BooleanArray::from_iter(
                    values.map(|value| value?.as_raw().to_bool().ok()),
                ))
            }),
            getter("json_get_string", DataType::Utf8, |values| {
                Arc::new(StringArray::from_iter(
                    values.map(|value| value?.as_raw().to_str().ok()),
                ))
            }),
        ]
    });
    FUNCTIONS.iter().find(|f| f.name() == name).cloned()
}

/// A function of Lance that reads a path out of a string, with a bound on that: what
/// reads it calls itself for each bracket.
pub fn bounded(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    match function.name().starts_with("json_") {
        true => Arc::new(ScalarUDF::new_from_impl(Bounded(function))),
        false => function,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded(Arc<ScalarUDF>);

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType, DataFusionError> {
        self.0.return_type(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        for arg in &args.args {
            let paths = arg.to_array(1)?;
            let Some(paths) = paths.as_string_opt::<i32>() else {
                continue;
            };
            if paths.iter().flatten().any(|path| !is_simple(path)) {
                let message = "a path of JSON is nested too deep, or longer than 4096 bytes";
                return Err(DataFusionError::Execution(message.into()));
            }
        }
        self.0.invoke_with_args(args)
    }
}

/// Whether a text that is read by calls for each bracket is short, and has few in
/// each other.
pub fn is_simple(text: &str) -> bool {
    let mut open = 0;
    text.len() <= MAX_PATH
        && text.bytes().all(|byte| {
            open += match byte {
                b'(' | b'[' | b'{' | b'<' => 1,
                b')' | b']' | b'}' | b'>' => -1,
                _ => 0,
            };
            open <= MAX_BRACKETS
        })
}

type Values<'a> = &'a mut dyn Iterator<Item = Option<OwnedJsonb>>;

fn getter(name: &str, to: DataType, collect: fn(Values<'_>) -> ArrayRef) -> Arc<ScalarUDF> {
    let get = move |args: &[ColumnarValue]| {
        let arrays = ColumnarValue::values_to_arrays(args)?;
        let [documents, keys] = arrays.as_slice() else {
            return Err(DataFusionError::Plan("want a column and a key".into()));
        };
        let (documents, keys) = (documents.as_binary::<i64>(), keys.as_string::<i32>());
        let mut values = documents
            .iter()
            .zip(keys)
            .map(|(document, key)| value(RawJsonb::new(document?), key?));
        Ok(ColumnarValue::Array(collect(&mut values)))
    };
    Arc::new(create_udf(
        name,
        vec![DataType::LargeBinary, DataType::Utf8],
        to,
        Volatility::Immutable,
        Arc::new(get),
    ))
}

/// A value as an int, unless it is a number between two.
fn int(value: RawJsonb<'_>) -> Option<i64> {
    let int = value.to_i64().ok()?;
    let is_between = value.is_number().ok()? && value.to_f64().ok()? != int as f64;
    (!is_between).then_some(int)
}

/// What an object has under a key, or a list at an index; no null of JSON.
fn value(document: RawJsonb<'_>, key: &str) -> Option<OwnedJsonb> {
    let found = match document.is_array() {
        Ok(true) => document.get_by_index(key.parse().ok()?),
        _ => document.get_by_name(key, false),
    };
    found
        .ok()?
        .filter(|value| !value.as_raw().is_null().unwrap_or(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_texts_are_not_simple() {
        for (text, simple) in [
            ("$.a[0].b".to_owned(), true),
            ("$".to_owned() + &"[0]".repeat(99), true),
            ("$ ? ".to_owned() + &"(".repeat(17), false),
            ("$".to_owned() + &".a".repeat(3000), false),
        ] {
            assert_eq!(is_simple(&text), simple, "{text}");
        }
    }

    #[test]
    fn ints_are_numbers_without_a_fraction() {
        for (text, want) in [
            ("3", Some(3)),
            ("3.0", Some(3)),
            ("3.5", None),
            ("9007199254740993", Some((1 << 53) + 1)),
            ("\"3\"", Some(3)),
            ("\"three\"", None),
            ("[3]", None),
            ("{}", None),
        ] {
            let value = lance_jsonb::parse_value(text.as_bytes())
                .expect("JSON")
                .to_vec();
            assert_eq!(int(RawJsonb::new(&value)), want, "{text}");
        }
    }
}
