//! Searches for a text in columns without an index: texts are cut into words as an index
//! with the default options does, where Lance tells apart upper and lower case.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use lance::dataset::scanner::Scanner;
use lance::deps::datafusion::common::tree_node::{Transformed, TreeNode};
use lance::deps::datafusion::common::{DataFusionError, Result as Planned};
use lance::deps::datafusion::execution::{SendableRecordBatchStream, TaskContext};
use lance::deps::datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use lance::deps::datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, PlanProperties,
};
use lance::index::DatasetIndexExt;
use lance::io::exec::fts::FlatMatchQueryExec;
use lance_index::scalar::inverted::builder::document_input;
use lance_index::scalar::inverted::query::MatchQuery;
use lance_index::scalar::inverted::{
    flat_bm25_search_stream_with_options_and_scorer, FlatBm25SearchOptions,
};
use lance_index::scalar::registry::VALUE_COLUMN_NAME;
use lance_index::scalar::InvertedIndexParams;

use crate::snapshot::Snapshot;

impl Snapshot {
    /// The plan of a search for a text.
    pub async fn text_plan(&self, scanner: &Scanner) -> lance::Result<Arc<dyn ExecutionPlan>> {
        let plan = scanner.create_plan().await?;
        let indexed = self.text_indexes().await?;
        let cut = plan.transform_up(|node| {
            let Some(flat) = node.downcast_ref::<FlatMatchQueryExec>() else {
                return Ok(Transformed::no(node));
            };
            let path = flat.query().column.clone().unwrap_or_default();
            if indexed.contains(path.trim_matches('`')) {
                return Ok(Transformed::no(node));
            }
            let texts = flat.children()[0].clone();
            let Some(document) = document(&path, &texts) else {
                return Ok(Transformed::no(node));
            };
            Ok(Transformed::yes(Arc::new(SearchTexts {
                query: flat.query().clone(),
                document,
                properties: flat.properties().clone(),
                texts,
            }) as _))
        });
        Ok(cut?.data)
    }

    /// The columns that have an index for texts.
    async fn text_indexes(&self) -> lance::Result<HashSet<String>> {
        let mut columns = HashSet::new();
        for index in self.dataset.load_indices().await?.iter() {
            let details = index.index_details.as_ref();
            if !details.is_some_and(|d| d.type_url.ends_with("InvertedIndexDetails")) {
                continue;
            }
            let fields = index.fields.iter();
            let fields = fields.filter_map(|&id| self.dataset.schema().field_by_id(id));
            columns.extend(fields.map(|field| field.name.clone()));
        }
        Ok(columns)
    }
}

/// What a plan calls the column of the texts at a path, or those of its lists.
fn document(path: &str, texts: &Arc<dyn ExecutionPlan>) -> Option<String> {
    let schema = texts.schema();
    let names = [path, path.trim_matches('`'), VALUE_COLUMN_NAME];
    let found = names.iter().find(|name| schema.index_of(name).is_ok());
    found.map(|name| (*name).to_owned())
}

/// Gives each text of its input a score.
#[derive(Debug)]
struct SearchTexts {
    query: MatchQuery,
    document: String,
    properties: Arc<PlanProperties>,
    texts: Arc<dyn ExecutionPlan>,
}

impl DisplayAs for SearchTexts {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            document, query, ..
        } = self;
        write!(f, "SearchTexts: column={document}, query={}", query.terms)
    }
}

impl ExecutionPlan for SearchTexts {
    fn name(&self) -> &str {
        "SearchTexts"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.texts]
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        vec![Distribution::SinglePartition]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Planned<Arc<dyn ExecutionPlan>> {
        let texts = children
            .pop()
            .ok_or_else(|| DataFusionError::Internal("no texts to search".into()))?;
        Ok(Arc::new(Self {
            query: self.query.clone(),
            document: self.document.clone(),
            properties: self.properties.clone(),
            texts,
        }))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Planned<SendableRecordBatchStream> {
        let options = FlatBm25SearchOptions {
            target_batch_size: context.session_config().batch_size(),
            elapsed_compute: None,
            document_granularity: self.query.document_granularity.unwrap_or_default(),
            operator: self.query.operator,
            boost: self.query.boost,
            phrase_slop: None,
        };
        let words = InvertedIndexParams::default().build()?;
        let texts = document_input(self.texts.execute(partition, context)?, &self.document)?;
        let (column, terms) = (self.document.clone(), self.query.terms.clone());
        let scores = async move {
            let search = flat_bm25_search_stream_with_options_and_scorer(
                texts, column, terms, words, None, options,
            );
            Ok::<_, DataFusionError>(search.await?.0)
        };
        let scores = futures::stream::once(scores).try_flatten().boxed();
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            scores,
        )))
    }
}
