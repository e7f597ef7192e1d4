//! Queries: filters, orders and searches over one version of a table.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, RecordBatchOptions};
use arrow_cast::cast;
use arrow_schema::{DataType, Field, Schema as ArrowSchema, SchemaRef};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use lance::dataset::scanner::Scanner;
use lance::datatypes::Schema;
use lance::deps::datafusion::execution::SendableRecordBatchStream;
use lance::deps::datafusion::logical_expr::Expr;
use lance::deps::datafusion::physical_expr::expressions::col;
use lance::deps::datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use lance::deps::datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use lance::deps::datafusion::physical_plan::sorts::sort::SortExec;
use lance::deps::datafusion::physical_plan::{displayable, ExecutionPlan, ExecutionPlanProperties};
use lance_arrow::json::{convert_lance_json_to_arrow, has_arrow_json_fields};
use lance_core::ROW_ID;
use lance_datafusion::exec::{execute_plan, LanceExecutionOptions};
use lance_index::scalar::inverted::SCORE_COL;
use lance_index::scalar::FullTextSearchQuery;
use lance_index::vector::DIST_COL;
use lance_linalg::distance::DistanceType;
use serde::Deserialize;

use crate::depth::{depth, Depth};
use crate::error::{invalid, would_block, Error, Result};
use crate::filter::{evaluated, in_filter};
use crate::projection::Projection;
use crate::read::{gather, Reader, BATCH_BYTES};
use crate::readers::Source;
use crate::runtime::{at_once, block_on, on_workers, spawn, AHEAD};
use crate::snapshot::Snapshot;
use crate::sql::path;
use crate::stack::with_stack;
use crate::vectors::{no_vectors, vectors};

const BATCH_ROWS: u64 = 8192;

/// The column of row ids in results, which users know as offsets.
const OFFSET: &str = "_offset";

/// Rows of an answer, and bytes of a filter, of a query that must not wait.
const FEW_ROWS: usize = 64;
const SHORT_FILTER: usize = 1024;

/// Memory of one sort, beyond which it goes to temporary files.
const SORT_BYTES: u64 = 256 << 20;

/// What `pn_snapshot_query` documents.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    filter: Option<String>,
    /// Names in the filter that stand for others.
    #[serde(default)]
    names: HashMap<String, String>,
    columns: Option<Vec<String>>,
    #[serde(default)]
    with_offset: bool,
    limit: Option<u64>,
    #[serde(default)]
    offset: u64,
    #[serde(default)]
    order_by: Vec<Order>,
    search: Option<Search>,
    #[serde(default)]
    without_index: bool,
    #[serde(default)]
    no_wait: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    column: String,
    #[serde(default)]
    descending: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Search {
    columns: Vec<String>,
    /// None: the search is for a vector.
    text: Option<String>,
    k: u64,
    metric: Option<String>,
    nprobes: Option<usize>,
    refine: Option<u32>,
    ef: Option<usize>,
}

impl Query {
    pub fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|e| invalid(format!("query: {e}")))
    }

    /// Whether it may be worth a try without waiting.
    fn may_be_quick(&self) -> bool {
        let filter = self.filter.as_ref();
        filter.is_some_and(|f| f.len() <= SHORT_FILTER)
            && self.order_by.is_empty()
            && self.may_be_indexed()
    }

    /// Whether indexes may answer it as a whole.
    fn may_be_indexed(&self) -> bool {
        !self.without_index && self.search.is_none()
    }

    /// How deep the filter is.
    fn depth(&self) -> Result<Depth> {
        let depth = self.filter.as_deref().map(depth).transpose();
        Ok(depth.map_err(|e| in_filter(&e))?.unwrap_or_default())
    }

    fn is_for_text(&self) -> bool {
        self.search
            .as_ref()
            .is_some_and(|search| search.text.is_some())
    }

    fn range(&self) -> Result<(Option<i64>, i64)> {
        let number = |n: u64| i64::try_from(n).map_err(|_| invalid(format!("{n} is too large")));
        Ok((self.limit.map(number).transpose()?, number(self.offset)?))
    }
}

impl Snapshot {
    /// The rows that a query asks for: in the order of their row ids, in the
    /// order asked for and then by row id, or the best of a search first.
    pub fn query(self: &Arc<Self>, query: &Query, vector: Option<&[f64]>) -> Result<Reader> {
        if query.no_wait && !query.may_be_quick() {
            return Err(would_block());
        }
        let depth = query.depth()?;
        with_stack(depth.stack_bytes(), || self.answer(query, vector, depth))
    }

    fn answer(
        self: &Arc<Self>,
        query: &Query,
        vector: Option<&[f64]>,
        depth: Depth,
    ) -> Result<Reader> {
        let filter = self.filter(query)?;
        let columns = self.columns_of(query)?;
        let output = Output::new(columns, query);
        let ids = async {
            match query.search.is_none() && !query.order_by.is_empty() {
                true => self.sorted_ids(query, filter.clone()).await.map(Some),
                false => match self.indexed(query, filter.as_ref()).await? {
                    Some(ids) => page(ids, query).map(Some),
                    None => Ok(None),
                },
            }
        };
        let ids = match query.no_wait {
            true => at_once(ids).unwrap_or_else(|| Err(would_block()))?,
            false => block_on(ids)?,
        };
        let batches = match ids {
            Some(ids) if query.no_wait && ids.len() > FEW_ROWS => return Err(would_block()),
            Some(ids) => self.clone().rows_of(ids, output, query.no_wait)?,
            None if query.no_wait => return Err(would_block()),
            None => block_on(async {
                let columns = &output.columns.inner;
                let scanner = self.scanner(query, filter, vector, columns).await?;
                let batches = self.scanned(query, &scanner).await.map_err(evaluated)?;
                let batches = batches.map_err(|e| evaluated(e.into()));
                Result::Ok(batches.map(move |batch| output.batch(batch?)).boxed())
            })?,
        };
        let batches = match depth.is_shallow() {
            true => batches,
            false => on_workers(batches),
        };
        Ok(Reader::new(gather(batches, self.batch_rows()).boxed()))
    }

    /// Runs the plan of a scanner.
    async fn scanned(
        &self,
        query: &Query,
        scanner: &Scanner,
    ) -> lance::Result<SendableRecordBatchStream> {
        let plan = match query.is_for_text() {
            true => self.text_plan(scanner).await?,
            false => scanner.create_plan().await?,
        };
        let options = LanceExecutionOptions {
            batch_size: Some(self.batch_rows()),
            ..Default::default()
        };
        execute_plan(plan, options)
    }

    /// How many rows pass the filter of a query.
    pub fn count(&self, query: &Query) -> Result<u64> {
        with_stack(query.depth()?.stack_bytes(), || {
            let filter = self.filter(query)?;
            block_on(async {
                if let Some(ids) = self.indexed(query, filter.as_ref()).await? {
                    return Ok(ids.len() as u64);
                }
                let mut scanner = self.filtered(query, filter);
                scanner.empty_project()?.with_row_id();
                scanner.count_rows().await.map_err(evaluated)
            })
        })
    }

    /// The plan of a query, as text.
    pub fn explain(&self, query: &Query, vector: Option<&[f64]>) -> Result<String> {
        with_stack(query.depth()?.stack_bytes(), || {
            self.explained(query, vector)
        })
    }

    fn explained(&self, query: &Query, vector: Option<&[f64]>) -> Result<String> {
        let filter = self.filter(query)?;
        let columns = self.columns_of(query)?;
        block_on(async {
            if query.order_by.is_empty() && query.may_be_indexed() {
                if let Some(filter) = &filter {
                    if let Some(search) = self.index_search(filter).await? {
                        return Ok(format!("TakeRows\n  ScalarIndexQuery: query={search}\n"));
                    }
                }
            }
            let scanner = match query.order_by.is_empty() {
                true => self.scanner(query, filter, vector, &columns.inner).await?,
                false => self.order_scanner(query, filter)?,
            };
            let plan = match query.is_for_text() {
                true => displayable(self.text_plan(&scanner).await?.as_ref())
                    .indent(false)
                    .to_string(),
                false => scanner.explain_plan(false).await?,
            };
            if query.order_by.is_empty() {
                return Ok(plan);
            }
            let keys: Vec<String> = query
                .order_by
                .iter()
                .map(|o| format!("{} {}", o.column, if o.descending { "DESC" } else { "ASC" }))
                .chain([format!("{OFFSET} ASC")])
                .collect();
            let indented: Vec<String> = plan.lines().map(|l| format!("    {l}")).collect();
            Ok(format!(
                "TakeRows\n  Sort: {}\n{}\n",
                keys.join(", "),
                indented.join("\n")
            ))
        })
    }

    fn batch_rows(&self) -> usize {
        (BATCH_BYTES / self.bytes_per_row().max(1)).clamp(1, BATCH_ROWS) as usize
    }

    fn columns_of(&self, query: &Query) -> Result<Projection> {
        match query.columns.as_deref() {
            Some([]) => Ok(Projection {
                inner: Arc::new(Schema::default()),
                outer: Arc::new(ArrowSchema::empty()),
            }),
            columns => self.project(columns),
        }
    }

    fn filter(&self, query: &Query) -> Result<Option<Expr>> {
        let Some(filter) = &query.filter else {
            return Ok(None);
        };
        let parsed = self.filters()?.parse(filter, &query.names);
        parsed.map(Some).map_err(|e| in_filter(&e))
    }

    fn filtered(&self, query: &Query, filter: Option<Expr>) -> Scanner {
        let mut scanner = self.dataset.scan();
        if query.without_index {
            scanner.use_scalar_index(false);
        }
        if let Some(filter) = filter {
            scanner.filter_expr(filter);
        }
        scanner
    }

    /// The row ids that pass the filter of a query, where indexes know them.
    async fn indexed(&self, query: &Query, filter: Option<&Expr>) -> Result<Option<Vec<i64>>> {
        match filter {
            Some(filter) if query.may_be_indexed() => self.indexed_ids(filter).await,
            _ => Ok(None),
        }
    }

    async fn scanner(
        &self,
        query: &Query,
        filter: Option<Expr>,
        vector: Option<&[f64]>,
        columns: &Schema,
    ) -> Result<Scanner> {
        let mut scanner = self.filtered(query, filter);
        scanner
            .batch_size(self.batch_rows())
            .io_buffer_size(self.shared.io_buffer_bytes)
            .project_with_schema(columns)?;
        if query.with_offset || columns.fields.is_empty() {
            scanner.with_row_id();
        }
        if let Some(search) = &query.search {
            scanner.prefilter(true);
            match &search.text {
                Some(text) => self.search_text(&mut scanner, search, text)?,
                None => self.search_vector(&mut scanner, query, search, vector)?,
            }
            return Ok(scanner);
        }
        let (limit, offset) = query.range()?;
        if limit.is_some() || offset > 0 {
            scanner.limit(limit, Some(offset))?;
        }
        scanner.scan_in_order(true);
        if !self.dataset.manifest().uses_stable_row_ids() {
            return Ok(scanner); // of another program: its order is that of the fragments
        }
        let (order, _) = self.layout().await?.order();
        if !order.is_sorted() {
            let fragments = self.dataset.fragments();
            scanner.with_fragments(order.iter().map(|&i| fragments[i].clone()).collect());
        }
        Ok(scanner)
    }

    fn search_text(&self, scanner: &mut Scanner, search: &Search, text: &str) -> Result<()> {
        let columns: Vec<String> = search.columns.iter().map(|name| path(name)).collect();
        let k = i64::try_from(search.k).map_err(|_| invalid("k is too large"))?;
        let query = FullTextSearchQuery::new(text.to_owned())
            .with_columns(&columns)?
            .limit(Some(k));
        scanner.full_text_search(query)?;
        Ok(())
    }

    fn search_vector(
        &self,
        scanner: &mut Scanner,
        query: &Query,
        search: &Search,
        vector: Option<&[f64]>,
    ) -> Result<()> {
        let vector = vector.ok_or_else(|| invalid("a search without a text and a vector"))?;
        let [column] = search.columns.as_slice() else {
            return Err(invalid("a vector is searched for in one column"));
        };
        let (item, length) = vectors(self.dataset.schema(), column)?;
        if !item.data_type().is_floating() && *item.data_type() != DataType::UInt8 {
            let kind = DataType::FixedSizeList(item, length as i32);
            return Err(no_vectors(column, &kind));
        }
        if vector.len() != length {
            return Err(invalid(format!(
                "the vector has {} dimensions, column {column:?} has {length}",
                vector.len()
            )));
        }
        let key = cast(&Float64Array::from(vector.to_vec()), item.data_type())?;
        scanner.nearest(&path(column), &key, search.k as usize)?;
        if let Some(metric) = &search.metric {
            scanner.distance_metric(DistanceType::try_from(metric.as_str()).map_err(invalid)?);
        }
        if let Some(n) = search.nprobes {
            scanner.nprobes(n);
        }
        if let Some(factor) = search.refine {
            scanner.refine(factor);
        }
        if let Some(ef) = search.ef {
            scanner.ef(ef);
        }
        scanner.use_index(!query.without_index);
        Ok(())
    }

    /// Reads the columns to order by, and row ids.
    fn order_scanner(&self, query: &Query, filter: Option<Expr>) -> Result<Scanner> {
        let mut names: Vec<String> = Vec::new();
        for order in &query.order_by {
            if !names.contains(&order.column) {
                names.push(order.column.clone());
            }
        }
        let keys = self.project(Some(&names))?;
        for field in keys.outer.fields() {
            if has_arrow_json_fields(field) || field.data_type().is_nested() {
                return Err(invalid(format!("column {:?} has no order", field.name())));
            }
        }
        let mut scanner = self.filtered(query, filter);
        scanner
            .project_with_schema(&keys.inner)?
            .with_row_id()
            .scan_in_order(false);
        Ok(scanner)
    }

    /// The row ids of a query with an order.
    async fn sorted_ids(&self, query: &Query, filter: Option<Expr>) -> Result<Vec<i64>> {
        let (limit, offset) = query.range()?;
        let scanner = self.order_scanner(query, filter)?;
        let mut plan = scanner.create_plan().await.map_err(evaluated)?;
        if plan.output_partitioning().partition_count() > 1 {
            plan = Arc::new(CoalescePartitionsExec::new(plan));
        }
        let schema = plan.schema();
        let keys = query
            .order_by
            .iter()
            .map(|order| (order.column.as_str(), order.descending))
            .chain([(ROW_ID, false)])
            .map(|(name, descending)| {
                Ok(PhysicalSortExpr {
                    expr: col(name, &schema)?,
                    options: arrow_schema::SortOptions {
                        descending,
                        nulls_first: false,
                    },
                })
            })
            .collect::<std::result::Result<Vec<_>, lance::Error>>()?;
        let keys = LexOrdering::new(keys).ok_or_else(|| Error::internal("no order"))?;
        let fetch = limit.map(|limit| limit.saturating_add(offset) as usize);
        if fetch == Some(0) {
            return Ok(vec![]);
        }
        let sort: Arc<dyn ExecutionPlan> = Arc::new(SortExec::new(keys, plan).with_fetch(fetch));
        let options = LanceExecutionOptions {
            use_spilling: true,
            mem_pool_size: Some(SORT_BYTES),
            ..Default::default()
        };
        let mut batches = execute_plan(sort, options).map_err(evaluated)?;
        let mut ids = Vec::new();
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(|e| evaluated(e.into()))?;
            let column = batch.column_by_name(ROW_ID);
            let column = column.ok_or_else(|| Error::internal("no row ids"))?;
            ids.extend(
                column
                    .as_primitive::<UInt64Type>()
                    .values()
                    .iter()
                    .map(|&id| id as i64),
            );
        }
        page(ids, query)
    }

    /// Rows by row id, in the order given.
    fn rows_of(
        self: Arc<Self>,
        ids: Vec<i64>,
        output: Output,
        no_wait: bool,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let most = self.batch_rows();
        if ids.is_empty() {
            return Ok(stream::empty().boxed());
        }
        if ids.len() <= most {
            let batch = match output.has_columns() {
                true => Some(self.take_now(&ids, &output.columns, no_wait)?),
                false => None,
            };
            return Ok(stream::iter([output.with_ids(batch, ids)]).boxed());
        }
        let chunks: Vec<Vec<i64>> = ids.chunks(most).map(<[i64]>::to_vec).collect();
        Ok(stream::iter(chunks)
            .map(move |ids| {
                let (snapshot, output) = (self.clone(), output.clone());
                spawn(async move { snapshot.rows_at(ids, &output).await })
            })
            .buffered(AHEAD)
            .boxed())
    }

    async fn rows_at(&self, ids: Vec<i64>, output: &Output) -> Result<RecordBatch> {
        let batch = match output.has_columns() {
            true => Some(self.take_rows(&ids, &output.columns, Source::Disk).await?),
            false => None,
        };
        output.with_ids(batch, ids)
    }
}

/// The columns of a result.
#[derive(Clone)]
struct Output {
    columns: Projection,
    /// Those that Lance calculates.
    extra: Vec<&'static str>,
    with_offset: bool,
    schema: SchemaRef,
}

impl Output {
    fn new(columns: Projection, query: &Query) -> Self {
        let extra = match &query.search {
            None => vec![],
            Some(Search { text: None, .. }) => vec![DIST_COL],
            Some(_) => vec![SCORE_COL],
        };
        let mut fields: Vec<_> = columns.outer.fields().iter().cloned().collect();
        for name in &extra {
            fields.push(Arc::new(Field::new(*name, DataType::Float32, true)));
        }
        if query.with_offset {
            fields.push(Arc::new(Field::new(OFFSET, DataType::Int64, false)));
        }
        Self {
            columns,
            extra,
            with_offset: query.with_offset,
            schema: Arc::new(ArrowSchema::new(fields)),
        }
    }

    /// Whether any of the columns are stored.
    fn has_columns(&self) -> bool {
        !self.columns.outer.fields().is_empty()
    }

    /// A batch as it comes from Lance.
    fn batch(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let batch = convert_lance_json_to_arrow(&batch)?;
        let named = |name: &str| {
            let column = batch.column_by_name(name).cloned();
            column.ok_or_else(|| Error::internal(format!("no column {name:?} in {batch:?}")))
        };
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for field in self.columns.outer.fields() {
            columns.push(named(field.name())?);
        }
        for name in &self.extra {
            columns.push(named(name)?);
        }
        if self.with_offset {
            columns.push(cast(&named(ROW_ID)?, &DataType::Int64)?);
        }
        self.join(columns, batch.num_rows())
    }

    fn with_ids(&self, batch: Option<RecordBatch>, ids: Vec<i64>) -> Result<RecordBatch> {
        let rows = ids.len();
        let mut columns = batch.map_or_else(Vec::new, |b| b.columns().to_vec());
        if self.with_offset {
            columns.push(Arc::new(Int64Array::from(ids)) as ArrayRef);
        }
        self.join(columns, rows)
    }

    fn join(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new()
            .with_match_field_names(false)
            .with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options);
        batch.map_err(|e| Error::internal(format!("a result of other columns: {e}")))
    }
}

/// The part of the row ids of an answer that a query asks for.
fn page(mut ids: Vec<i64>, query: &Query) -> Result<Vec<i64>> {
    let (limit, offset) = query.range()?;
    ids.drain(..(offset as usize).min(ids.len()));
    if let Some(limit) = limit {
        ids.truncate(limit as usize);
    }
    Ok(ids)
}
