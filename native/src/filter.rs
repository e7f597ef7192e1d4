//! Filters and expressions: SQL as users write it, planned over the columns of a table.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{
    DataType, Field as ArrowField, FieldRef, Schema as ArrowSchema, SchemaRef, TimeUnit,
};
use lance::datatypes::Schema;
use lance::deps::datafusion::common::tree_node::{Transformed, TreeNode};
use lance::deps::datafusion::common::{
    DFSchema, DataFusionError, Result as Planned, TableReference,
};
use lance::deps::datafusion::config::ConfigOptions;
use lance::deps::datafusion::execution::context::SessionContext;
use lance::deps::datafusion::logical_expr::planner::{ExprPlanner, TypePlanner};
use lance::deps::datafusion::logical_expr::{
    AggregateUDF, Expr, ExprSchemable, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF,
};
use lance::deps::datafusion::sql::planner::{
    ContextProvider, NullOrdering, ParserOptions, PlannerContext, SqlToRel,
};
use lance::deps::datafusion::sql::sqlparser::ast::{DataType as SqlType, TimezoneInfo};
use lance_core::ROW_ID;
use lance_datafusion::exec::{get_session_context, LanceExecutionOptions};
use lance_datafusion::logical_expr::coerce_filter_type_to_boolean;
use lance_datafusion::planner::Planner;

use crate::compare::fit;
use crate::error::{invalid, Error, Result};
use crate::json;
use crate::sql::{translate, tree};
use crate::tokens::unparsed;

/// Makes expressions over the columns of one schema.
pub struct Filters {
    planner: Planner,
    schema: DFSchema,
    columns: SchemaRef,
    context: Context,
}

impl Filters {
    /// Those of filters, which may name the row id.
    pub fn new(columns: &Schema) -> Result<Self> {
        let mut fields: Vec<_> = ArrowSchema::from(columns)
            .fields()
            .iter()
            .cloned()
            .collect();
        fields.push(Arc::new(ArrowField::new(ROW_ID, DataType::UInt64, true)));
        Self::over(Arc::new(ArrowSchema::new(fields)))
    }

    pub fn over(columns: SchemaRef) -> Result<Self> {
        Ok(Self {
            schema: DFSchema::try_from(columns.as_ref().clone()).map_err(lance::Error::from)?,
            planner: Planner::new(columns.clone()),
            columns,
            context: Context::new(),
        })
    }

    /// The expression of a filter. What is wrong with it is said with its place in
    /// `sql`, or with the name as it is stored.
    pub fn parse(&self, sql: &str, names: &HashMap<String, String>) -> Result<Expr> {
        let expr = self.plan(&translate(sql, names, &self.names())?)?;
        let expr = fit(coerce_filter_type_to_boolean(expr), &self.schema)?;
        let kind = expr.get_type(&self.schema).map_err(lance::Error::from)?;
        if kind != DataType::Boolean {
            return Err(invalid(format!("{expr} is {kind}, want true or false")));
        }
        asked_of_indexes(self.planner.optimize_expr(expr)?)
    }

    /// An expression in stored names.
    pub fn expression(&self, sql: &str) -> Result<Expr> {
        let expr = fit(self.plan(sql)?, &self.schema)?;
        Ok(self.planner.optimize_expr(expr)?)
    }

    fn names(&self) -> Vec<&str> {
        let fields = self.columns.fields().iter();
        fields.map(|field| field.name().as_str()).collect()
    }

    fn plan(&self, sql: &str) -> Result<Expr> {
        let columns = self
            .columns
            .fields()
            .iter()
            .map(|field| field.name().as_str());
        let columns: Vec<_> = columns.collect();
        let is_function = |name: &str| self.context.get_function_meta(name).is_some();
        let tree = tree(sql, &columns, &is_function)?;
        let options = ParserOptions {
            parse_float_as_decimal: false,
            enable_ident_normalization: false,
            support_varchar_with_length: false,
            enable_options_value_normalization: false,
            collect_spans: false,
            map_string_types_to_utf8view: false,
            default_null_ordering: NullOrdering::NullsMax,
        };
        let planner = SqlToRel::new_with_options(&self.context, options);
        let planned = planner.sql_to_expr(tree, &self.schema, &mut PlannerContext::default());
        planned.map_err(|e| unparsed(Error::from(lance::Error::from(e))))
    }
}

/// Says otherwise what indexes give a wrong answer to: `flag IS TRUE` is null to them
/// where the flag is, so that NOT of it leaves those rows out.
fn asked_of_indexes(expr: Expr) -> Result<Expr> {
    let said = expr.transform_up(|expr| {
        Ok(match expr {
            Expr::IsTrue(flag) if matches!(*flag, Expr::Column(_)) => {
                Transformed::yes(flag.clone().is_not_null().and(*flag))
            }
            Expr::IsFalse(flag) if matches!(*flag, Expr::Column(_)) => {
                Transformed::yes(flag.clone().is_not_null().and(Expr::Not(flag)))
            }
            expr => Transformed::no(expr),
        })
    });
    Ok(said.map_err(lance::Error::from)?.data)
}

/// What SQL means besides the columns.
struct Context {
    session: SessionContext,
    options: ConfigOptions,
    expr_planners: Vec<Arc<dyn ExprPlanner>>,
}

impl Context {
    fn new() -> Self {
        let session = get_session_context(&LanceExecutionOptions::default());
        let expr_planners = session.state_ref().read().expr_planners().to_vec();
        Self {
            session,
            options: ConfigOptions::default(),
            expr_planners,
        }
    }
}

/// Functions of many rows have no place in an expression.
impl ContextProvider for Context {
    fn get_table_source(&self, name: TableReference) -> Planned<Arc<dyn TableSource>> {
        Err(DataFusionError::Plan(format!("there is no table {name}")))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.expr_planners
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(Types))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        json::function(name).or_else(|| {
            let state = self.session.state_ref();
            let function = state.read().scalar_functions().get(name).cloned();
            function.map(json::bounded)
        })
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        let state = self.session.state_ref();
        let function = state.read().higher_order_functions().get(name).cloned();
        function
    }

    fn get_aggregate_meta(&self, _: &str) -> Option<Arc<AggregateUDF>> {
        None
    }

    fn get_window_meta(&self, _: &str) -> Option<Arc<WindowUDF>> {
        None
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        let state = self.session.state_ref();
        let names = state.read().scalar_functions().keys().cloned().collect();
        names
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        let state = self.session.state_ref();
        let names = state
            .read()
            .higher_order_functions()
            .keys()
            .cloned()
            .collect();
        names
    }

    fn udaf_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The types whose names mean what they mean to Lance: times are in microseconds, as
/// those of Python.
#[derive(Debug)]
struct Types;

impl TypePlanner for Types {
    fn plan_type_field(&self, kind: &SqlType) -> Planned<Option<FieldRef>> {
        use TimezoneInfo as Zone;
        let kind = match kind {
            SqlType::Binary(_) | SqlType::Varbinary(_) | SqlType::Blob(_) => DataType::Binary,
            SqlType::Timestamp(precision, zone) => {
                let zone = match zone {
                    Zone::None | Zone::WithoutTimeZone => None,
                    Zone::Tz | Zone::WithTimeZone => Some("UTC".into()),
                };
                DataType::Timestamp(unit(*precision)?, zone)
            }
            SqlType::Datetime(precision) => DataType::Timestamp(unit(*precision)?, None),
            SqlType::Time(precision, Zone::None | Zone::WithoutTimeZone) => {
                match unit(*precision)? {
                    unit @ (TimeUnit::Second | TimeUnit::Millisecond) => DataType::Time32(unit),
                    unit => DataType::Time64(unit),
                }
            }
            _ => return Ok(None),
        };
        Ok(Some(Arc::new(ArrowField::new("", kind, true))))
    }
}

fn unit(precision: Option<u64>) -> Planned<TimeUnit> {
    Ok(match precision {
        None | Some(6) => TimeUnit::Microsecond,
        Some(0) => TimeUnit::Second,
        Some(3) => TimeUnit::Millisecond,
        Some(9) => TimeUnit::Nanosecond,
        Some(n) => {
            return Err(DataFusionError::Plan(format!(
                "times of {n} digits after the second, there are those of 0, 3, 6 and 9"
            )))
        }
    })
}

/// What is wrong with an expression, without what says nothing to a user, and with what
/// would be right where that is known.
pub fn fault(e: &Error) -> Error {
    let mut message = e.to_string();
    for noise in [
        "Invalid user input: ",
        "Schema error: ",
        "Error during planning: ",
        "Not supported: ",
        "This feature is not implemented: ",
        "LanceError(Arrow): ",
        "LanceError(Schema): ",
        "Query Execution error: ",
        "Execution error: ",
        "Arrow error: ",
        "Error applying filter expression to batch: ",
        "type_coercion\ncaused by\n",
    ] {
        message = message.replace(noise, "");
    }
    if let Some(at) = message.find(" Valid fields are") {
        message.truncate(at);
    }
    if message.contains("LargeBinary") {
        message.push_str(
            "; a column of JSON is reached into by json_get_int(column, 'key'), json_get_float, \
             json_get_string, json_get_bool and json_extract(column, '$.key')",
        );
    }
    unparsed(message)
}

/// Says that it is the filter of a query that is at fault.
pub fn in_filter(e: &Error) -> Error {
    invalid(format!("filter: {}", fault(e)))
}

/// An error of computing an expression: what a value does to it is told as a fault of
/// the expression, and what a file does as that.
pub fn evaluated(e: lance::Error) -> Error {
    let is_of_values = is_of_values(&e);
    let error = Error::from(e);
    match is_of_values {
        true => invalid(format!("a value cannot be computed: {}", fault(&error))),
        false => error,
    }
}

fn is_of_values(e: &lance::Error) -> bool {
    const SIGNS: [&str; 8] = [
        "Divide by zero",
        "Arithmetic overflow",
        "Overflow happened",
        "Cast error: ",
        "Parser error: ",
        "Compute error: ",
        "regex",
        "Regular expression",
    ];
    if !matches!(
        e,
        lance::Error::Arrow { .. }
            | lance::Error::Execution { .. }
            | lance::Error::InvalidInput { .. }
            | lance::Error::NotSupported { .. }
            | lance::Error::External { .. }
            | lance::Error::IO { .. }
    ) {
        return false;
    }
    let message = e.to_string();
    matches!(e, lance::Error::Execution { .. }) || SIGNS.iter().any(|sign| message.contains(sign))
}
