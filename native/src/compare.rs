//! Comparisons of values with constants of another type: the constant becomes one of
//! the type of the values, so that no value changes and an index can be asked. Where
//! that type has no such value, its neighbours tell the answer: an integer is above
//! 0.5 where it is above 0.

use std::sync::Arc;

use arrow_schema::{DataType, IntervalUnit, TimeUnit};
use lance::deps::datafusion::common::tree_node::{Transformed, TreeNode};
use lance::deps::datafusion::common::DFSchema;
use lance::deps::datafusion::logical_expr::expr::InList;
use lance::deps::datafusion::logical_expr::{
    lit, Between, BinaryExpr, Cast, Expr, ExprSchemable, Operator,
};
use lance::deps::datafusion::optimizer::simplify_expressions::{ExprSimplifier, SimplifyContext};
use lance::deps::datafusion::scalar::ScalarValue;
use lance_datafusion::expr::safe_coerce_scalar;

use crate::error::{invalid, Result};
use crate::grid::{as_double, clock, length, moment, Exact, Family, Fitted, Grid};

/// Fits the constants of all comparisons in an expression.
pub fn fit(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let fitter = Fitter { schema };
    let mut fault = None;
    let fitted = expr.transform_up(|expr| {
        if fault.is_some() {
            return Ok(Transformed::no(expr));
        }
        match fitter.fit(&expr) {
            Ok(Some(fitted)) => Ok(Transformed::yes(fitted)),
            Ok(None) => Ok(Transformed::no(expr)),
            Err(e) => {
                fault = Some(e);
                Ok(Transformed::no(expr))
            }
        }
    });
    match fault {
        Some(e) => Err(e),
        None => Ok(fitted.map_err(lance::Error::from)?.data),
    }
}

struct Fitter<'a> {
    schema: &'a DFSchema,
}

impl Fitter<'_> {
    /// What a comparison becomes, None if it is none or stays.
    fn fit(&self, expr: &Expr) -> Result<Option<Expr>> {
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_comparison(*op) => {
                self.compare(left, *op, right)
            }
            Expr::Between(between) => self.between(between).map(Some),
            Expr::InList(list) => self.among(list),
            _ => Ok(None),
        }
    }

    fn compare(&self, left: &Expr, op: Operator, right: &Expr) -> Result<Option<Expr>> {
        let (of, op, with) = match (self.constant(left), self.constant(right)) {
            (None, Some(value)) => (left, op, Constant::new(value, right)),
            (Some(value), None) => match op.swap() {
                Some(op) => (right, op, Constant::new(value, left)),
                None => return Ok(None),
            },
            (None, None) => return Ok(self.signless(left, op, right)),
            _ => return Ok(None),
        };
        let Ok(kind) = of.get_type(self.schema) else {
            return Ok(None);
        };
        Ok(fitted(of, &kind, &with)?.map(|fitted| fitted.compared(of, op)))
    }

    /// Floats are compared bit by bit: without a sign of zero the two zeros are equal.
    /// Other numbers become floats, which hold them all, if not exactly.
    fn signless(&self, left: &Expr, op: Operator, right: &Expr) -> Option<Expr> {
        let kinds = [left, right].map(|side| side.get_type(self.schema).ok());
        if !kinds.iter().flatten().any(DataType::is_floating) {
            return None;
        }
        let without = |side: &Expr, kind: &Option<DataType>| match kind {
            Some(kind) if kind.is_floating() => {
                let zero = ScalarValue::new_zero(kind).ok()?;
                Some(binary(side.clone(), Operator::Plus, lit(zero)))
            }
            Some(kind) if kind.is_numeric() => Some(Expr::Cast(Cast::new(
                Box::new(side.clone()),
                DataType::Float64,
            ))),
            _ => Some(side.clone()),
        };
        let [left, right] = [without(left, &kinds[0])?, without(right, &kinds[1])?];
        Some(binary(left, op, right))
    }

    fn between(&self, between: &Between) -> Result<Expr> {
        let Between {
            expr: of,
            negated,
            low,
            high,
        } = between;
        let (first, last, joined) = match negated {
            false => (Operator::GtEq, Operator::LtEq, Operator::And),
            true => (Operator::Lt, Operator::Gt, Operator::Or),
        };
        let compared = |op, with: &Expr| -> Result<Expr> {
            let plain = || binary(of.as_ref().clone(), op, with.clone());
            Ok(self.compare(of, op, with)?.unwrap_or_else(plain))
        };
        Ok(binary(compared(first, low)?, joined, compared(last, high)?))
    }

    fn among(&self, list: &InList) -> Result<Option<Expr>> {
        let of = list.expr.as_ref();
        let Ok(kind) = of.get_type(self.schema) else {
            return Ok(None);
        };
        let mut values = Vec::with_capacity(list.list.len());
        for item in &list.list {
            let Some(value) = self.constant(item) else {
                return Ok(None);
            };
            if value.is_null() {
                values.push(typed_null(&kind)?);
                continue;
            }
            match fitted(of, &kind, &Constant::new(value, item))? {
                Some(Fitted::Same(value)) => values.push(lit(value)),
                Some(_) => {} // no value of that type equals it
                None => return Ok(None),
            }
        }
        Ok(Some(match values.is_empty() {
            true => always(of, list.negated),
            false => of.clone().in_list(values, list.negated),
        }))
    }

    /// The value of an expression over no columns.
    fn constant(&self, expr: &Expr) -> Option<ScalarValue> {
        if let Expr::Literal(value, _) = expr {
            return Some(value.clone());
        }
        if expr.any_column_refs() || expr.is_volatile() {
            return None;
        }
        let schema = Arc::new(self.schema.clone());
        let context = SimplifyContext::builder().with_schema(schema).build();
        let simplifier = ExprSimplifier::new(context);
        let typed = simplifier.coerce(expr.clone(), self.schema).ok()?;
        match simplifier.simplify(typed).ok()? {
            Expr::Literal(value, _) => Some(value),
            _ => None,
        }
    }
}

fn is_comparison(op: Operator) -> bool {
    use Operator as O;
    matches!(
        op,
        O::Eq
            | O::NotEq
            | O::Lt
            | O::LtEq
            | O::Gt
            | O::GtEq
            | O::IsDistinctFrom
            | O::IsNotDistinctFrom
    )
}

fn binary(left: Expr, op: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
}

fn typed_null(kind: &DataType) -> Result<Expr> {
    Ok(lit(
        ScalarValue::try_new_null(kind).map_err(lance::Error::from)?
    ))
}

/// True or false wherever the expression is not null, and null there.
fn always(of: &Expr, is_true: bool) -> Expr {
    let null = lit(ScalarValue::Boolean(None));
    match is_true {
        true => binary(of.clone().is_not_null(), Operator::Or, null),
        false => binary(of.clone().is_null(), Operator::And, null),
    }
}

/// A constant, and whether a CAST says what type it has.
struct Constant {
    value: ScalarValue,
    is_cast: bool,
}

impl Constant {
    fn new(value: ScalarValue, expr: &Expr) -> Self {
        let is_cast = |expr: &Expr| Ok(matches!(expr, Expr::Cast(_) | Expr::TryCast(_)));
        Self {
            value,
            is_cast: expr.exists(is_cast).unwrap_or(true),
        }
    }
}

impl Fitted {
    /// The comparison of an expression of that type with the constant.
    fn compared(self, of: &Expr, op: Operator) -> Expr {
        use Operator as O;
        match (self, op) {
            (Self::Same(value), op) => binary(of.clone(), op, lit(value)),
            (_, O::IsDistinctFrom) => lit(true),
            (_, O::IsNotDistinctFrom) => lit(false),
            (Self::After(value), O::Gt | O::GtEq) => binary(of.clone(), O::Gt, lit(value)),
            (Self::After(value), O::Lt | O::LtEq) => binary(of.clone(), O::LtEq, lit(value)),
            (Self::Below, O::Gt | O::GtEq | O::NotEq) => always(of, true),
            (Self::Above, O::Lt | O::LtEq | O::NotEq) => always(of, true),
            (Self::After(_), O::NotEq) => always(of, true),
            _ => always(of, false),
        }
    }
}

/// The constant among the values of a type; None leaves the comparison as it is.
fn fitted(of: &Expr, kind: &DataType, with: &Constant) -> Result<Option<Fitted>> {
    let value = &with.value;
    if value.is_null() {
        return Ok(None);
    }
    if *kind == value.data_type() {
        return Ok(Some(Fitted::Same(value.clone())));
    }
    if let Some(text) = string(value) {
        return of_string(of, kind, text);
    }
    if is_string(kind) && value.data_type().is_numeric() {
        return Err(invalid(format!(
            "{of} is a string and {value} a number: write the number in single quotes, or \
             CAST({of} AS double)"
        )));
    }
    if let Some(grid) = Grid::of(kind) {
        let exact = match grid.family {
            Family::Number => Exact::number(value),
            Family::Date => moment(value, &None),
            Family::Moment => match kind {
                DataType::Timestamp(_, zone) => moment(value, zone),
                _ => None,
            },
            Family::Clock => clock(value),
            Family::Length => length(value)?,
        };
        return Ok(exact.map(|exact| grid.place(exact)));
    }
    if is_field(of) {
        if kind.is_floating() {
            return Ok(float(kind, with));
        }
        return Ok(safe_coerce_scalar(value, kind).map(Fitted::Same));
    }
    Ok(None)
}

fn is_field(expr: &Expr) -> bool {
    match expr {
        Expr::Column(_) => true,
        Expr::ScalarFunction(call) => call.name() == "get_field",
        _ => false,
    }
}

fn is_string(kind: &DataType) -> bool {
    use DataType as T;
    matches!(kind, T::Utf8 | T::LargeUtf8 | T::Utf8View)
}

fn string(value: &ScalarValue) -> Option<&str> {
    use ScalarValue as V;
    match value {
        V::Utf8(text) | V::LargeUtf8(text) | V::Utf8View(text) => text.as_deref(),
        _ => None,
    }
}

/// A string is compared with times as the time that it tells.
fn of_string(of: &Expr, kind: &DataType, text: &str) -> Result<Option<Fitted>> {
    use DataType as T;
    let nanoseconds = |zone: &Option<Arc<str>>| T::Timestamp(TimeUnit::Nanosecond, zone.clone());
    let microseconds = |zone: &Option<Arc<str>>| T::Timestamp(TimeUnit::Microsecond, zone.clone());
    let (types, advice) = match kind {
        T::Date32 | T::Date64 => (
            vec![nanoseconds(&None), microseconds(&None)],
            "write date '2026-11-23'",
        ),
        T::Timestamp(_, zone) => (
            vec![nanoseconds(zone), microseconds(zone)],
            "write timestamp '2026-11-23 10:00:00'",
        ),
        T::Time32(_) | T::Time64(_) => (
            vec![T::Time64(TimeUnit::Nanosecond)],
            "write time '10:00:00'",
        ),
        T::Duration(_) => (
            vec![T::Interval(IntervalUnit::MonthDayNano)],
            "write interval '90 seconds'",
        ),
        kind if kind.is_numeric() => {
            return Err(invalid(format!(
                "{of} is {kind} and '{text}' a string: write the number without quotes, or \
                 CAST({of} AS string)"
            )))
        }
        kind if is_string(kind) => {
            let value = ScalarValue::Utf8(Some(text.to_owned()));
            let value = value.cast_to(kind).map_err(lance::Error::from)?;
            return Ok(Some(Fitted::Same(value)));
        }
        _ => return Ok(None),
    };
    let value = ScalarValue::Utf8(Some(text.to_owned()));
    let told = types.iter().find_map(|kind| value.cast_to(kind).ok());
    match told.filter(|told| !told.is_null()) {
        Some(told) => fitted(of, kind, &Constant::new(told.clone(), &lit(told))),
        None => Err(invalid(format!(
            "{of} is {kind} and '{text}' is none: {advice}"
        ))),
    }
}

/// A number in a column of floats becomes the float that is nearest to it, as a
/// literal takes the type of what it is compared with.
fn float(kind: &DataType, with: &Constant) -> Option<Fitted> {
    let number = match &with.value {
        value if value.data_type().is_floating() => as_double(value)?,
        value => Exact::number(value)?.double(),
    };
    let narrow = ScalarValue::Float64(Some(number)).cast_to(kind).ok()?;
    let back = as_double(&narrow)?;
    if with.is_cast && back.total_cmp(&number).is_ne() {
        return None;
    }
    if back.is_finite() || !number.is_finite() {
        return Some(Fitted::Same(narrow));
    }
    // Beyond all that are finite, and not infinite.
    let largest = match kind {
        DataType::Float16 => 65504.0,
        _ => f64::from(f32::MAX),
    };
    let largest = |sign: f64| {
        ScalarValue::Float64(Some(sign * largest))
            .cast_to(kind)
            .ok()
    };
    match number > 0.0 {
        true => largest(1.0).map(Fitted::After),
        false => {
            let infinite = ScalarValue::Float64(Some(f64::NEG_INFINITY));
            infinite.cast_to(kind).ok().map(Fitted::After)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_schema::{Field, Schema};
    use lance::deps::datafusion::logical_expr::col;

    fn said(kind: DataType, op: Operator, value: ScalarValue) -> String {
        let schema = Schema::new(vec![Field::new("c", kind, true)]);
        let schema = DFSchema::try_from(schema).expect("a schema");
        let expr = fit(binary(col("c"), op, lit(value)), &schema);
        expr.map_or_else(|e| e.to_string(), |e| e.to_string())
    }

    #[test]
    fn constants_take_the_type_of_what_they_are_compared_with() {
        use DataType as T;
        use Operator as O;
        use ScalarValue as V;
        let double = |n: f64| V::Float64(Some(n));
        let long = |n: i64| V::Int64(Some(n));
        let never = "c IS NULL AND Boolean(NULL)";
        let ever = "c IS NOT NULL OR Boolean(NULL)";
        for (kind, op, value, want) in [
            (T::Int64, O::Gt, double(0.5), "c > Int64(0)"),
            (T::Int64, O::GtEq, double(-0.5), "c > Int64(-1)"),
            (T::Int64, O::Lt, double(0.5), "c <= Int64(0)"),
            (T::Int64, O::LtEq, double(2.0), "c <= Int64(2)"),
            (T::Int64, O::Eq, double(0.5), never),
            (T::Int64, O::NotEq, double(0.5), ever),
            (T::Int64, O::Lt, double(1e300), ever),
            (T::Int64, O::Gt, double(f64::NAN), never),
            (T::Int8, O::Lt, long(1000), ever),
            (T::Int8, O::Eq, long(127), "c = Int8(127)"),
            (T::Int8, O::Gt, double(127.5), never),
            (T::UInt64, O::Gt, long(-1), ever),
            (T::UInt64, O::Lt, double(-0.5), never),
            (
                T::UInt64,
                O::Eq,
                V::UInt64(Some(u64::MAX)),
                "c = UInt64(18446744073709551615)",
            ),
            (
                T::Decimal128(38, 18),
                O::Gt,
                double(0.1),
                "c > Decimal128(Some(100000000000000000),38,18)",
            ),
            (
                T::Decimal128(5, 2),
                O::GtEq,
                double(0.125),
                "c > Decimal128(Some(12),5,2)",
            ),
            (T::Decimal128(5, 2), O::Lt, long(1000), ever),
            (T::Float32, O::Eq, double(0.1), "c = Float32(0.1)"),
            (
                T::Float32,
                O::Lt,
                double(1e300),
                "c <= Float32(340282350000000000000000000000000000000)",
            ),
            (T::Float32, O::Gt, double(-1e300), "c > Float32(-inf)"),
            (T::Float64, O::Eq, long(3), "c = Float64(3)"),
            (
                T::Date32,
                O::GtEq,
                V::TimestampMicrosecond(Some(86_400_000_001), None),
                "c > Date32(\"1970-01-02\")",
            ),
            (
                T::Time64(TimeUnit::Microsecond),
                O::Lt,
                V::Time64Nanosecond(Some(1_500)),
                "c <= Time64Microsecond(\"1\")",
            ),
        ] {
            let kind_text = kind.to_string();
            assert_eq!(
                said(kind, op, value.clone()),
                want,
                "{kind_text} {op} {value:?}"
            );
        }
    }

    #[test]
    fn floats_of_two_columns_have_no_sign_of_zero() {
        use DataType as T;
        for (left, right, want) in [
            (T::Float64, T::Float32, "a + Float64(0) < b + Float32(0)"),
            (
                T::Decimal128(12, 2),
                T::Float64,
                "CAST(a AS Float64) < b + Float64(0)",
            ),
            (T::Int64, T::Float32, "CAST(a AS Float64) < b + Float32(0)"),
            (T::Int64, T::Int8, "a < b"),
        ] {
            let fields = [("a", left), ("b", right)].map(|(n, kind)| Field::new(n, kind, true));
            let schema = DFSchema::try_from(Schema::new(fields.to_vec())).expect("a schema");
            let expr = fit(binary(col("a"), Operator::Lt, col("b")), &schema).expect("fits");
            assert_eq!(expr.to_string(), want);
        }
    }
}
