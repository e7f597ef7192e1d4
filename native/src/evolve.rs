//! Columns that are computed, renamed and dropped.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow_schema::{DataType, Field as ArrowField, Schema as ArrowSchema};
use arrow_select::take::take;
use lance::dataset::transaction::Operation;
use lance::datatypes::{Field, Schema};
use lance::io::exec::Planner;
use lance::Dataset;
use lance_arrow::json::{arrow_json_to_lance_json, convert_json_columns};
use serde_json::{Map, Value};

use crate::cast::exact_cast;
use crate::columns::{numbered, only, position, write_column};
use crate::depth::{depth, Depth};
use crate::error::{Error, Result};
use crate::filter::{evaluated, fault, Filters};
use crate::snapshot::Snapshot;
use crate::stack::with_stack;
use crate::table::{commit, Table};

/// What the rows that are there get in a new column.
pub enum Fill {
    /// The one row of a batch of one column.
    Value(RecordBatch),
    /// An SQL expression over the other columns.
    Expression(String),
}

impl Table {
    /// Adds a column that is filled.
    pub fn fill_column(&self, field: &ArrowField, fill: &Fill) -> Result<Arc<Snapshot>> {
        let stack = match fill {
            Fill::Value(_) => Depth::default(),
            Fill::Expression(expression) => deep(expression)?,
        };
        with_stack(stack.stack_bytes(), || {
            self.retry(async |newest| fill_column(newest, field, fill).await)
        })
    }

    /// Takes a column out of the schema; no data is written.
    pub fn drop_column(&self, name: &str) -> Result<Arc<Snapshot>> {
        self.retry(async |newest: Arc<Dataset>| {
            let mut schema = newest.schema().clone();
            schema.fields.remove(position(&schema, name)?);
            project(&newest, schema).await
        })
    }

    /// Gives a column the name and the metadata of `to`; no data is written.
    pub fn rename_column(&self, name: &str, to: &ArrowField) -> Result<Arc<Snapshot>> {
        self.retry(async |newest: Arc<Dataset>| {
            let mut schema = newest.schema().clone();
            let position = position(&schema, name)?;
            let template = Field::try_from(&arrow_json_to_lance_json(to))?;
            let field = &mut schema.fields[position];
            if field.data_type() != template.data_type() {
                return Err(Error::schema("a rename does not change the type"));
            }
            field.name = template.name;
            field.metadata = template.metadata;
            schema.validate()?;
            project(&newest, schema).await
        })
    }

    /// Renames a key, or takes it out, in a column of JSON objects as text. A text
    /// whose last key goes becomes null.
    pub fn rewrite_keys(&self, name: &str, key: &str, to: Option<&str>) -> Result<Arc<Snapshot>> {
        self.retry(async |newest: Arc<Dataset>| {
            let mut schema = newest.schema().clone();
            let position = position(&schema, name)?;
            let old = schema.fields[position].clone();
            schema.fields[position] = Field::try_from(&ArrowField::from(&old))?;
            let schema = numbered(&newest, schema)?;
            let new = schema.fields[position].clone();
            let rewrite = |batch: RecordBatch| rewritten(batch.column(0), key, to);
            write_column(newest, schema, only(&old), &new, &rewrite).await
        })
    }
}

impl Snapshot {
    /// The type of an SQL expression over the columns.
    pub fn expression_type(&self, expression: &str) -> Result<ArrowSchema> {
        let stack = deep(expression)?.stack_bytes();
        let kind = with_stack(stack, || Ok(plan(&self.dataset, expression)?.kind))?;
        Ok(ArrowSchema::new(vec![ArrowField::new("", kind, true)]))
    }
}

fn deep(expression: &str) -> Result<Depth> {
    depth(expression).map_err(|e| fault(&e))
}

async fn project(dataset: &Dataset, schema: Schema) -> Result<Dataset> {
    let operation = Operation::Project {
        schema,
        preserves_nullability: true,
    };
    commit(dataset, operation).await
}

async fn fill_column(dataset: Arc<Dataset>, field: &ArrowField, fill: &Fill) -> Result<Dataset> {
    let mut schema = dataset.schema().clone();
    if position(&schema, field.name()).is_ok() {
        let message = format!("column {:?} is there already", field.name());
        return Err(Error::schema(message));
    }
    let stored = arrow_json_to_lance_json(field);
    schema.fields.push(Field::try_from(&stored)?);
    let schema = numbered(&dataset, schema)?;
    let new = schema.fields[schema.fields.len() - 1].clone();
    match fill {
        Fill::Value(row) => {
            let row = convert_json_columns(row)?;
            let value = row.column(0).clone();
            let repeat = move |batch: RecordBatch| -> Result<ArrayRef> {
                let zeros = UInt32Array::from(vec![0; batch.num_rows()]);
                Ok(take(&value, &zeros, None)?)
            };
            let none = Schema {
                fields: Vec::new(),
                metadata: Default::default(),
            };
            write_column(dataset, schema, none, &new, &repeat).await
        }
        Fill::Expression(expression) => {
            let Plan {
                source, evaluate, ..
            } = plan(&dataset, expression)?;
            let output = ArrowField::from(&new);
            let compute = move |batch: RecordBatch| exact_cast(&evaluate(&batch)?, &output);
            write_column(dataset, schema, source, &new, &compute).await
        }
    }
}

type Evaluate = Box<dyn Fn(&RecordBatch) -> Result<ArrayRef> + Send + Sync>;

/// An expression, ready to be computed.
struct Plan {
    /// The columns that it needs.
    source: Schema,
    kind: DataType,
    evaluate: Evaluate,
}

fn plan(dataset: &Dataset, expression: &str) -> Result<Plan> {
    let all = Arc::new(ArrowSchema::from(dataset.schema()));
    let expr = Filters::over(all)?.expression(expression);
    let expr = expr.map_err(|e| fault(&e))?;
    let needed = Planner::column_names_in_expr(&expr);
    let fields = dataset.schema().fields.iter();
    let source = Schema {
        fields: fields
            .filter(|f| needed.contains(&f.name))
            .cloned()
            .collect(),
        metadata: Default::default(),
    };
    let read = Arc::new(ArrowSchema::from(&source));
    let physical = Planner::new(read.clone()).create_physical_expr(&expr)?;
    Ok(Plan {
        source,
        kind: physical.data_type(&read).map_err(lance::Error::from)?,
        evaluate: Box::new(move |batch| {
            let values = physical.evaluate(batch).map_err(|e| evaluated(e.into()))?;
            let values = values.into_array(batch.num_rows());
            values.map_err(|e| evaluated(e.into()))
        }),
    })
}

fn rewritten(texts: &ArrayRef, key: &str, to: Option<&str>) -> Result<ArrayRef> {
    let texts = texts
        .as_string_opt::<i32>()
        .ok_or_else(|| Error::schema("the column is not utf8"))?;
    let mut out = StringBuilder::with_capacity(texts.len(), texts.value_data().len());
    for text in texts {
        let Some(text) = text else {
            out.append_null();
            continue;
        };
        let mut object: Map<String, Value> = serde_json::from_str(text)
            .map_err(|e| Error::corrupt(format!("{text:?} is not a JSON object: {e}")))?;
        match (object.remove(key), to) {
            (None, _) => out.append_value(text),
            (Some(value), Some(to)) => {
                object.insert(to.into(), value);
                out.append_value(Value::Object(object).to_string());
            }
            (Some(_), None) if object.is_empty() => out.append_null(),
            (Some(_), None) => out.append_value(Value::Object(object).to_string()),
        }
    }
    Ok(Arc::new(out.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::StringArray;

    #[test]
    fn keys_are_renamed_and_taken_out() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![
            Some(r#"{"a":null}"#),
            None,
            Some(r#"{"b":[],"a":[null]}"#),
            Some(r#"{"b":null}"#),
        ]));
        let found = |to| {
            let out = rewritten(&texts, "a", to).expect("texts");
            let out = out.as_string::<i32>();
            out.iter().map(|t| t.map(String::from)).collect::<Vec<_>>()
        };
        let some = |text: &str| Some(text.to_string());
        assert_eq!(
            found(Some("c")),
            [
                some(r#"{"c":null}"#),
                None,
                some(r#"{"b":[],"c":[null]}"#),
                some(r#"{"b":null}"#)
            ]
        );
        assert_eq!(
            found(None),
            [None, None, some(r#"{"b":[]}"#), some(r#"{"b":null}"#)]
        );
    }
}
