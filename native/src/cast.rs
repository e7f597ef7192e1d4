//! Casts that change no value.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{
    new_null_array, Array, ArrayRef, BooleanArray, FixedSizeListArray, GenericListArray,
    OffsetSizeTrait, StructArray,
};
use arrow_buffer::NullBuffer;
use arrow_cast::{can_cast_types, cast_with_options, CastOptions};
use arrow_schema::{DataType, Field, Fields};
use arrow_select::nullif::nullif;

use crate::error::{Error, Result, Status};

/// Casts `array` to the type of `to`. Fails with `Inexact` when any value would
/// not be the same after a cast back.
pub fn exact_cast(array: &ArrayRef, to: &Field) -> Result<ArrayRef> {
    cast(array, array.nulls(), to)
}

/// `valid` says which values count: a null parent hides what is below it.
fn cast(array: &ArrayRef, valid: Option<&NullBuffer>, to: &Field) -> Result<ArrayRef> {
    use DataType as T;
    match (array.data_type(), to.data_type()) {
        (from, to) if from == to => Ok(array.clone()),
        (T::Null, to) => Ok(new_null_array(to, array.len())),
        (T::Struct(_), T::Struct(fields)) => cast_struct(array.as_struct(), valid, fields),
        (T::List(_), T::List(item)) => cast_list::<i32>(array, item),
        (T::LargeList(_), T::LargeList(item)) => cast_list::<i64>(array, item),
        (T::List(item), T::LargeList(_)) => {
            let wide = leaf_cast(array, valid, &T::LargeList(item.clone()))?;
            cast(&wide, valid, to)
        }
        (T::FixedSizeList(item, _), T::List(_)) => {
            let list = leaf_cast(array, valid, &T::List(item.clone()))?;
            cast(&list, valid, to)
        }
        (T::FixedSizeList(item, _), T::LargeList(_)) => {
            let list = leaf_cast(array, valid, &T::LargeList(item.clone()))?;
            cast(&list, valid, to)
        }
        (T::FixedSizeList(_, n), T::FixedSizeList(item, m)) if n == m => {
            let list = array.as_fixed_size_list();
            let below = valid.map(|v| v.expand(*n as usize));
            let hidden = NullBuffer::union(below.as_ref(), list.values().nulls());
            let values = cast(list.values(), hidden.as_ref(), item)?;
            let nulls = list.nulls().cloned();
            Ok(Arc::new(FixedSizeListArray::try_new(
                item.clone(),
                *n,
                values,
                nulls,
            )?))
        }
        (_, to) => leaf_cast(array, valid, to),
    }
}

fn cast_struct(
    array: &StructArray,
    valid: Option<&NullBuffer>,
    fields: &Fields,
) -> Result<ArrayRef> {
    if let Some(lost) = array
        .fields()
        .iter()
        .find(|f| fields.find(f.name()).is_none())
    {
        return Err(Error::schema(format!(
            "field {:?} would be lost",
            lost.name()
        )));
    }
    let columns = fields
        .iter()
        .map(|field| match array.column_by_name(field.name()) {
            Some(column) => {
                let hidden = NullBuffer::union(valid, column.nulls());
                cast(column, hidden.as_ref(), field)
            }
            None if field.is_nullable() => Ok(new_null_array(field.data_type(), array.len())),
            None => Err(Error::schema(format!(
                "new field {:?} is not nullable",
                field.name()
            ))),
        })
        .collect::<Result<Vec<_>>>()?;
    let nulls = array.nulls().cloned();
    Ok(Arc::new(StructArray::try_new(
        fields.clone(),
        columns,
        nulls,
    )?))
}

fn cast_list<O: OffsetSizeTrait>(array: &ArrayRef, item: &Arc<Field>) -> Result<ArrayRef> {
    let list: &GenericListArray<O> = array.as_list();
    let values = cast(list.values(), list.values().nulls(), item)?;
    let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
    Ok(Arc::new(GenericListArray::try_new(
        item.clone(),
        offsets,
        values,
        nulls,
    )?))
}

fn leaf_cast(array: &ArrayRef, valid: Option<&NullBuffer>, to: &DataType) -> Result<ArrayRef> {
    let from = array.data_type();
    if !can_cast_types(from, to) || !can_cast_types(to, from) {
        return Err(Error::schema(format!("{from} is not cast to {to}")));
    }
    let inexact = |why: String| Error::new(Status::Inexact, format!("{from} to {to}: {why}"));
    // What is hidden must not fail the cast.
    let visible = match valid {
        Some(valid) if Some(valid) != array.nulls() => {
            nullif(array, &BooleanArray::new(!valid.inner(), None))?
        }
        _ => array.clone(),
    };
    let options = CastOptions {
        safe: false,
        ..Default::default()
    };
    let there = cast_with_options(&visible, to, &options).map_err(|e| inexact(e.to_string()))?;
    let back = cast_with_options(&there, from, &options).map_err(|e| inexact(e.to_string()))?;
    if back.to_data() != visible.to_data() {
        return Err(inexact("a value would change".into()));
    }
    Ok(there)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::builder::{Int64Builder, ListBuilder};
    use arrow_array::{Float64Array, Int64Array, NullArray, UInt64Array};

    fn to(data_type: DataType) -> Field {
        Field::new("x", data_type, true)
    }

    #[test]
    fn numbers() {
        let big = 1i64 << 53;
        for (values, target, exact) in [
            (vec![Some(1), None, Some(-big)], DataType::Float64, true),
            (vec![Some(big + 1)], DataType::Float64, false),
            (vec![Some(i64::MAX)], DataType::Float64, false),
            (vec![Some(-1)], DataType::UInt64, false),
            (vec![Some(i64::MAX)], DataType::UInt64, true),
            (vec![Some(300)], DataType::Int8, false),
            (vec![Some(7)], DataType::Utf8, true),
        ] {
            let array: ArrayRef = Arc::new(Int64Array::from(values.clone()));
            let outcome = exact_cast(&array, &to(target.clone()));
            match outcome {
                Ok(out) => assert!(exact && out.data_type() == &target, "{values:?} {target}"),
                Err(e) => assert!(
                    !exact && e.status == Status::Inexact,
                    "{values:?} {target}: {e}"
                ),
            }
        }
    }

    #[test]
    fn float_to_int_keeps_the_sign_of_zero() {
        for (value, exact) in [(2.0, true), (2.5, false), (-0.0, false), (f64::NAN, false)] {
            let array: ArrayRef = Arc::new(Float64Array::from(vec![value]));
            assert_eq!(
                exact_cast(&array, &to(DataType::Int64)).is_ok(),
                exact,
                "{value}"
            );
        }
    }

    #[test]
    fn leaves_of_lists() {
        let mut b = ListBuilder::new(Int64Builder::new());
        b.append_value([Some(1), None, Some(3)]);
        b.append_null();
        b.append_value([]);
        let list: ArrayRef = Arc::new(b.finish());
        let floats = DataType::new_list(DataType::Float64, true);
        let out = exact_cast(&list, &to(floats.clone())).expect("exact");
        assert_eq!(out.data_type(), &floats);
        assert_eq!((out.len(), out.null_count()), (3, 1));

        let mut b = ListBuilder::new(Int64Builder::new());
        b.append_value([Some((1 << 53) + 1)]);
        let list: ArrayRef = Arc::new(b.finish());
        let e = exact_cast(&list, &to(floats)).expect_err("inexact");
        assert_eq!(e.status, Status::Inexact);
    }

    #[test]
    fn hidden_values_do_not_count() {
        let inner = Int64Array::from(vec![5, -1]);
        let field = Arc::new(Field::new("a", DataType::Int64, true));
        let nulls = NullBuffer::from(vec![true, false]);
        let array: ArrayRef = Arc::new(StructArray::new(
            vec![field].into(),
            vec![Arc::new(inner)],
            Some(nulls),
        ));
        let target = Fields::from(vec![
            Field::new("a", DataType::UInt64, true),
            Field::new("b", DataType::Utf8, true),
        ]);
        let out = exact_cast(&array, &to(DataType::Struct(target))).expect("exact");
        let a = out.as_struct().column(0).as_any();
        assert_eq!(a.downcast_ref::<UInt64Array>().expect("uint64").value(0), 5);
        assert_eq!(out.as_struct().column(1).null_count(), 2);
    }

    #[test]
    fn null_becomes_anything_and_nothing_is_lost() {
        let nulls: ArrayRef = Arc::new(NullArray::new(3));
        let out = exact_cast(&nulls, &to(DataType::Utf8)).expect("exact");
        assert_eq!((out.len(), out.null_count()), (3, 3));

        let field = Arc::new(Field::new("a", DataType::Int64, true));
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let array: ArrayRef = Arc::new(StructArray::new(vec![field].into(), vec![column], None));
        let target = Fields::from(vec![Field::new("b", DataType::Int64, true)]);
        let e = exact_cast(&array, &to(DataType::Struct(target))).expect_err("lost");
        assert_eq!(e.status, Status::Schema);
    }
}
