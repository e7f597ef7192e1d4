//! Values as exact numbers, and where they are among the values of a type.

use std::sync::Arc;

use arrow_schema::{DataType, TimeUnit};
use lance::deps::datafusion::scalar::ScalarValue;

use crate::error::{invalid, Result};

const SECONDS_PER_DAY: i128 = 86_400;

/// Where a constant is among the values of a type.
pub enum Fitted {
    /// One of them.
    Same(ScalarValue),
    /// Between this one and the next.
    After(ScalarValue),
    Below,
    Above,
}

/// The number `digits` / 10^`scale`, or one that is beyond all that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exact {
    Number { digits: i128, scale: i32 },
    Below,
    Above,
}

impl Exact {
    fn integer(digits: impl Into<i128>) -> Self {
        Self::scaled(digits, 0)
    }

    fn scaled(digits: impl Into<i128>, scale: i32) -> Self {
        Self::Number {
            digits: digits.into(),
            scale,
        }
    }

    pub fn number(value: &ScalarValue) -> Option<Self> {
        use ScalarValue as V;
        Some(match *value {
            V::Int8(Some(n)) => Self::integer(n),
            V::Int16(Some(n)) => Self::integer(n),
            V::Int32(Some(n)) => Self::integer(n),
            V::Int64(Some(n)) => Self::integer(n),
            V::UInt8(Some(n)) => Self::integer(n),
            V::UInt16(Some(n)) => Self::integer(n),
            V::UInt32(Some(n)) => Self::integer(n),
            V::UInt64(Some(n)) => Self::integer(n),
            V::Decimal32(Some(n), _, scale) => Self::scaled(n, scale.into()),
            V::Decimal64(Some(n), _, scale) => Self::scaled(n, scale.into()),
            V::Decimal128(Some(n), _, scale) => Self::scaled(n, scale.into()),
            V::Decimal256(Some(n), _, scale) => match n.to_i128() {
                Some(n) => Self::scaled(n, scale.into()),
                None => return None,
            },
            V::Float16(_) | V::Float32(_) | V::Float64(_) => Self::float(as_double(value)?),
            _ => return None,
        })
    }

    /// The number that a float is written as: 0.1 is a tenth. NaN is above all.
    fn float(number: f64) -> Self {
        if !number.is_finite() {
            return Self::beyond(number < 0.0);
        }
        let text = format!("{number:e}");
        let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let power: i32 = power.parse().unwrap_or(0);
        match format!("{whole}{fraction}").parse::<i128>() {
            Ok(digits) => Self::scaled(digits, fraction.len() as i32 - power),
            Err(_) => Self::beyond(number < 0.0),
        }
    }

    fn beyond(is_negative: bool) -> Self {
        match is_negative {
            true => Self::Below,
            false => Self::Above,
        }
    }

    pub fn double(self) -> f64 {
        match self {
            Self::Number { digits, scale } => {
                format!("{digits}e{}", -scale).parse().unwrap_or(f64::NAN)
            }
            Self::Below => f64::NEG_INFINITY,
            Self::Above => f64::INFINITY,
        }
    }
}

fn digits_of(unit: TimeUnit) -> i32 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

/// Seconds since 1970. A time without a zone is one in the zone of what it is
/// compared with.
pub fn moment(value: &ScalarValue, zone: &Option<Arc<str>>) -> Option<Exact> {
    use ScalarValue as V;
    let (ticks, unit, own) = match value {
        V::Date32(Some(_)) | V::Date64(Some(_)) if zone.is_some() => {
            let kind = DataType::Timestamp(TimeUnit::Microsecond, None);
            return moment(&value.cast_to(&kind).ok()?, zone);
        }
        V::Date32(Some(days)) => {
            return Some(Exact::integer(i128::from(*days) * SECONDS_PER_DAY));
        }
        V::Date64(Some(ticks)) => return Some(Exact::scaled(*ticks, 3)),
        V::TimestampSecond(Some(ticks), own) => (*ticks, TimeUnit::Second, own),
        V::TimestampMillisecond(Some(ticks), own) => (*ticks, TimeUnit::Millisecond, own),
        V::TimestampMicrosecond(Some(ticks), own) => (*ticks, TimeUnit::Microsecond, own),
        V::TimestampNanosecond(Some(ticks), own) => (*ticks, TimeUnit::Nanosecond, own),
        _ => return None,
    };
    match (own, zone) {
        (None, None) | (Some(_), Some(_)) => Some(Exact::scaled(ticks, digits_of(unit))),
        (None, Some(_)) => {
            let there = value
                .cast_to(&DataType::Timestamp(unit, zone.clone()))
                .ok()?;
            moment(&there, zone)
        }
        (Some(_), None) => None,
    }
}

/// Seconds since midnight.
pub fn clock(value: &ScalarValue) -> Option<Exact> {
    use ScalarValue as V;
    Some(match *value {
        V::Time32Second(Some(ticks)) => Exact::scaled(ticks, 0),
        V::Time32Millisecond(Some(ticks)) => Exact::scaled(ticks, 3),
        V::Time64Microsecond(Some(ticks)) => Exact::scaled(ticks, 6),
        V::Time64Nanosecond(Some(ticks)) => Exact::scaled(ticks, 9),
        _ => return None,
    })
}

/// Seconds that something lasts.
pub fn length(value: &ScalarValue) -> Result<Option<Exact>> {
    use ScalarValue as V;
    Ok(Some(match value {
        V::DurationSecond(Some(ticks)) => Exact::scaled(*ticks, 0),
        V::DurationMillisecond(Some(ticks)) => Exact::scaled(*ticks, 3),
        V::DurationMicrosecond(Some(ticks)) => Exact::scaled(*ticks, 6),
        V::DurationNanosecond(Some(ticks)) => Exact::scaled(*ticks, 9),
        V::IntervalDayTime(Some(time)) => Exact::scaled(
            i128::from(time.days) * SECONDS_PER_DAY * 1000 + i128::from(time.milliseconds),
            3,
        ),
        V::IntervalMonthDayNano(Some(time)) if time.months == 0 => Exact::scaled(
            i128::from(time.days) * SECONDS_PER_DAY * 1_000_000_000 + i128::from(time.nanoseconds),
            9,
        ),
        V::IntervalMonthDayNano(Some(_)) | V::IntervalYearMonth(Some(_)) => {
            return Err(invalid(
                "months and years have no fixed length: write an interval in days or less",
            ))
        }
        _ => return Ok(None),
    }))
}

#[derive(Clone, Copy)]
pub enum Family {
    Number,
    Date,
    Moment,
    Clock,
    Length,
}

/// The values of a type: the integers from `least` to `most`, each `step` / 10^`scale`
/// more than the one before.
pub struct Grid {
    pub family: Family,
    step: i128,
    scale: i32,
    least: i128,
    most: i128,
    kind: DataType,
}

impl Grid {
    pub fn of(kind: &DataType) -> Option<Self> {
        use DataType as T;
        fn range<N: Into<i128>>(least: N, most: N) -> (i128, i128) {
            (least.into(), most.into())
        }
        let long = range(i64::MIN, i64::MAX);
        let (family, step, scale, (least, most)) = match kind {
            T::Int8 => (Family::Number, 1, 0, range(i8::MIN, i8::MAX)),
            T::Int16 => (Family::Number, 1, 0, range(i16::MIN, i16::MAX)),
            T::Int32 => (Family::Number, 1, 0, range(i32::MIN, i32::MAX)),
            T::Int64 => (Family::Number, 1, 0, long),
            T::UInt8 => (Family::Number, 1, 0, range(u8::MIN, u8::MAX)),
            T::UInt16 => (Family::Number, 1, 0, range(u16::MIN, u16::MAX)),
            T::UInt32 => (Family::Number, 1, 0, range(u32::MIN, u32::MAX)),
            T::UInt64 => (Family::Number, 1, 0, range(u64::MIN, u64::MAX)),
            T::Decimal32(_, scale) => (
                Family::Number,
                1,
                i32::from(*scale),
                range(i32::MIN, i32::MAX),
            ),
            T::Decimal64(_, scale) => (Family::Number, 1, i32::from(*scale), long),
            T::Decimal128(precision, scale) => {
                let most = 10i128.checked_pow(u32::from(*precision))? - 1;
                (Family::Number, 1, i32::from(*scale), (-most, most))
            }
            T::Date32 => (Family::Date, SECONDS_PER_DAY, 0, range(i32::MIN, i32::MAX)),
            T::Date64 => (Family::Date, 1, 3, long),
            T::Timestamp(unit, _) => (Family::Moment, 1, digits_of(*unit), long),
            T::Duration(unit) => (Family::Length, 1, digits_of(*unit), long),
            T::Time32(unit) => (
                Family::Clock,
                1,
                digits_of(*unit),
                range(i32::MIN, i32::MAX),
            ),
            T::Time64(unit) => (Family::Clock, 1, digits_of(*unit), long),
            _ => return None,
        };
        Some(Self {
            family,
            step,
            scale,
            least,
            most,
            kind: kind.clone(),
        })
    }

    pub fn place(&self, number: Exact) -> Fitted {
        let (digits, scale) = match number {
            Exact::Number { digits, scale } => (digits, scale),
            Exact::Below => return Fitted::Below,
            Exact::Above => return Fitted::Above,
        };
        let power = |n: i32| 10i128.checked_pow(n.unsigned_abs());
        let shift = self.scale - scale;
        let (floor, is_exact) = if shift >= 0 {
            let Some(scaled) = power(shift).and_then(|power| digits.checked_mul(power)) else {
                if digits != 0 {
                    return match digits < 0 {
                        true => Fitted::Below,
                        false => Fitted::Above,
                    };
                }
                return self.at(0, true);
            };
            (
                scaled.div_euclid(self.step),
                scaled.rem_euclid(self.step) == 0,
            )
        } else {
            match power(shift).and_then(|power| power.checked_mul(self.step)) {
                Some(by) => (digits.div_euclid(by), digits.rem_euclid(by) == 0),
                None => (if digits < 0 { -1 } else { 0 }, digits == 0),
            }
        };
        self.at(floor, is_exact)
    }

    fn at(&self, floor: i128, is_exact: bool) -> Fitted {
        if floor < self.least {
            return Fitted::Below;
        }
        if floor > self.most || (floor == self.most && !is_exact) {
            return Fitted::Above;
        }
        match self.value(floor) {
            Some(value) if is_exact => Fitted::Same(value),
            Some(value) => Fitted::After(value),
            None => Fitted::Above,
        }
    }

    /// The value of the type that is one of its integers.
    fn value(&self, n: i128) -> Option<ScalarValue> {
        use DataType as T;
        use ScalarValue as V;
        let int = || i32::try_from(n).ok();
        let long = || i64::try_from(n).ok();
        Some(match &self.kind {
            T::Int8 => V::Int8(Some(i8::try_from(n).ok()?)),
            T::Int16 => V::Int16(Some(i16::try_from(n).ok()?)),
            T::Int32 => V::Int32(Some(int()?)),
            T::Int64 => V::Int64(Some(long()?)),
            T::UInt8 => V::UInt8(Some(u8::try_from(n).ok()?)),
            T::UInt16 => V::UInt16(Some(u16::try_from(n).ok()?)),
            T::UInt32 => V::UInt32(Some(u32::try_from(n).ok()?)),
            T::UInt64 => V::UInt64(Some(u64::try_from(n).ok()?)),
            T::Decimal32(precision, scale) => V::Decimal32(Some(int()?), *precision, *scale),
            T::Decimal64(precision, scale) => V::Decimal64(Some(long()?), *precision, *scale),
            T::Decimal128(precision, scale) => V::Decimal128(Some(n), *precision, *scale),
            T::Date32 => V::Date32(Some(int()?)),
            T::Date64 => V::Date64(Some(long()?)),
            T::Timestamp(TimeUnit::Second, zone) => V::TimestampSecond(Some(long()?), zone.clone()),
            T::Timestamp(TimeUnit::Millisecond, zone) => {
                V::TimestampMillisecond(Some(long()?), zone.clone())
            }
            T::Timestamp(TimeUnit::Microsecond, zone) => {
                V::TimestampMicrosecond(Some(long()?), zone.clone())
            }
            T::Timestamp(TimeUnit::Nanosecond, zone) => {
                V::TimestampNanosecond(Some(long()?), zone.clone())
            }
            T::Duration(TimeUnit::Second) => V::DurationSecond(Some(long()?)),
            T::Duration(TimeUnit::Millisecond) => V::DurationMillisecond(Some(long()?)),
            T::Duration(TimeUnit::Microsecond) => V::DurationMicrosecond(Some(long()?)),
            T::Duration(TimeUnit::Nanosecond) => V::DurationNanosecond(Some(long()?)),
            T::Time32(TimeUnit::Second) => V::Time32Second(Some(int()?)),
            T::Time32(_) => V::Time32Millisecond(Some(int()?)),
            T::Time64(TimeUnit::Microsecond) => V::Time64Microsecond(Some(long()?)),
            T::Time64(_) => V::Time64Nanosecond(Some(long()?)),
            _ => return None,
        })
    }
}

/// The value of a float, of any width.
pub fn as_double(value: &ScalarValue) -> Option<f64> {
    match value.cast_to(&DataType::Float64).ok()? {
        ScalarValue::Float64(number) => number,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_the_numbers_that_they_are_written_as() {
        for (number, digits, scale) in [
            (0.1, 1, 1),
            (-2.5e-7, -25, 8),
            (1e22, 1, -22),
            (0.0, 0, 0),
            (123456.75, 12345675, 2),
        ] {
            assert_eq!(Exact::float(number), Exact::Number { digits, scale });
        }
        assert_eq!(Exact::float(f64::NEG_INFINITY), Exact::Below);
    }
}
