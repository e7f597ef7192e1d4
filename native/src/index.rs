//! Indexes: building them, keeping them up with new rows, describing them.

use std::sync::Arc;

use lance::index::vector::VectorIndexParams;
use lance::index::{DatasetIndexExt, DatasetIndexInternalExt};
use lance::Dataset;
use lance_index::optimize::OptimizeOptions;
use lance_index::scalar::{BuiltinIndexType, InvertedIndexParams, ScalarIndexParams};
use lance_index::vector::hnsw::builder::HnswBuildParams;
use lance_index::vector::ivf::IvfBuildParams;
use lance_index::vector::pq::PQBuildParams;
use lance_index::vector::sq::builder::SQBuildParams;
use lance_index::{IndexParams, IndexType};
use lance_linalg::distance::DistanceType;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{json, Value};

use crate::error::{invalid, Error, Result};
use crate::runtime::block_on;
use crate::snapshot::Snapshot;
use crate::sql::path;
use crate::table::Table;
use crate::vectors::vectors;

/// Parts of a vector index from which they are merged into one.
const MANY_PARTS: usize = 8;

/// What `pn_table_create_index` documents.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    column: String,
    r#type: String,
    name: String,
    #[serde(default)]
    replace: bool,
    #[serde(default)]
    options: serde_json::Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoOptions {}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ZoneOptions {
    #[serde(skip_serializing_if = "Option::is_none")]
    rows_per_zone: Option<u64>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct BloomOptions {
    #[serde(skip_serializing_if = "Option::is_none")]
    number_of_items: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    probability: Option<f64>,
}

/// Those of Lance's options of a full-text index that users get.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct TextOptions {
    #[serde(skip_serializing_if = "Option::is_none")]
    base_tokenizer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    with_position: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_token_length: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lower_case: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stem: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remove_stop_words: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_stop_words: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ascii_folding: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_ngram_length: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_ngram_length: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix_only: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VectorOptions {
    metric: Option<String>,
    partitions: Option<usize>,
    sample_rate: Option<usize>,
    max_iterations: Option<usize>,
    sub_vectors: Option<usize>,
    bits: Option<usize>,
    m: Option<usize>,
    ef_construction: Option<usize>,
}

const TYPES: &str = "btree, bitmap, label_list, ngram, zonemap, bloom_filter, inverted, \
                     ivf_flat, ivf_pq, ivf_sq, ivf_hnsw_flat, ivf_hnsw_pq, ivf_hnsw_sq";

impl Spec {
    pub fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|e| invalid(format!("index: {e}")))
    }

    fn options<T: DeserializeOwned>(&self) -> Result<T> {
        let options = Value::Object(self.options.clone());
        serde_json::from_value(options)
            .map_err(|e| invalid(format!("options of an index of type {}: {e}", self.r#type)))
    }

    fn params(&self, dataset: &Dataset) -> Result<(IndexType, Box<dyn IndexParams>)> {
        use BuiltinIndexType as B;
        let scalar = |kind: B, options: Option<Value>| -> Result<Box<dyn IndexParams>> {
            let params = ScalarIndexParams::for_builtin(kind);
            Ok(Box::new(match options {
                Some(options) => params.with_params(&options),
                None => params,
            }))
        };
        let plain = |kind: B| {
            self.options::<NoOptions>()?;
            scalar(kind, None)
        };
        Ok(match self.r#type.as_str() {
            "btree" => (IndexType::BTree, plain(B::BTree)?),
            "bitmap" => (IndexType::Bitmap, plain(B::Bitmap)?),
            "label_list" => (IndexType::LabelList, plain(B::LabelList)?),
            "ngram" => (IndexType::NGram, plain(B::NGram)?),
            "zonemap" => {
                let options = json!(self.options::<ZoneOptions>()?);
                (IndexType::ZoneMap, scalar(B::ZoneMap, Some(options))?)
            }
            "bloom_filter" => {
                let options = json!(self.options::<BloomOptions>()?);
                (
                    IndexType::BloomFilter,
                    scalar(B::BloomFilter, Some(options))?,
                )
            }
            "inverted" => {
                let options = json!(self.options::<TextOptions>()?);
                let params: InvertedIndexParams = serde_json::from_value(options)
                    .map_err(|e| invalid(format!("options of an index of type inverted: {e}")))?;
                params.build().map_err(invalid)?; // a tokenizer that is not there
                (IndexType::Inverted, Box::new(params))
            }
            kind if kind.starts_with("ivf_") => {
                let params = self.vector_params(dataset)?;
                (params.index_type(), Box::new(params))
            }
            kind => {
                return Err(invalid(format!(
                    "no index type {kind:?}, there are {TYPES}"
                )))
            }
        })
    }

    fn vector_params(&self, dataset: &Dataset) -> Result<VectorIndexParams> {
        let options: VectorOptions = self.options()?;
        let (_, dimensions) = vectors(dataset.schema(), &self.column)?;
        let metric = options.metric.as_deref().unwrap_or("l2");
        let metric = DistanceType::try_from(metric).map_err(invalid)?;
        let defaults = IvfBuildParams::default();
        let ivf = IvfBuildParams {
            num_partitions: options.partitions,
            sample_rate: options.sample_rate.unwrap_or(defaults.sample_rate),
            max_iters: options.max_iterations.unwrap_or(defaults.max_iters),
            ..defaults
        };
        let defaults = HnswBuildParams::default();
        let hnsw = HnswBuildParams {
            m: options.m.unwrap_or(defaults.m),
            ef_construction: options.ef_construction.unwrap_or(defaults.ef_construction),
            ..defaults
        };
        let pq = || -> Result<PQBuildParams> {
            let defaults = PQBuildParams::default();
            Ok(PQBuildParams {
                num_sub_vectors: match options.sub_vectors {
                    Some(n) => n,
                    None => sub_vectors(dimensions),
                },
                num_bits: options.bits.unwrap_or(defaults.num_bits),
                max_iters: options.max_iterations.unwrap_or(defaults.max_iters),
                sample_rate: options.sample_rate.unwrap_or(defaults.sample_rate),
                ..defaults
            })
        };
        Ok(match self.r#type.as_str() {
            "ivf_flat" => VectorIndexParams::with_ivf_flat_params(metric, ivf),
            "ivf_pq" => VectorIndexParams::with_ivf_pq_params(metric, ivf, pq()?),
            "ivf_sq" => {
                VectorIndexParams::with_ivf_sq_params(metric, ivf, SQBuildParams::default())
            }
            "ivf_hnsw_flat" => VectorIndexParams::ivf_hnsw(metric, ivf, hnsw),
            "ivf_hnsw_pq" => VectorIndexParams::with_ivf_hnsw_pq_params(metric, ivf, hnsw, pq()?),
            "ivf_hnsw_sq" => {
                let sq = SQBuildParams::default();
                VectorIndexParams::with_ivf_hnsw_sq_params(metric, ivf, hnsw, sq)
            }
            kind => {
                return Err(invalid(format!(
                    "no index type {kind:?}, there are {TYPES}"
                )))
            }
        })
    }
}

/// Parts that a vector is cut into for quantization: of up to 16 dimensions, and
/// at least 16 where that goes.
fn sub_vectors(dimensions: usize) -> usize {
    let fits = |width: &usize| dimensions.is_multiple_of(*width) && dimensions / width >= 16;
    let width = [16, 8, 4, 2].into_iter().find(fits);
    dimensions / width.unwrap_or(1)
}

impl Table {
    /// Builds an index of the rows that are there. Rows may be appended
    /// meanwhile.
    pub fn create_index(&self, spec: &Spec) -> Result<Arc<Snapshot>> {
        let _running = self.build.begin(&spec.name);
        self.retry(async |newest: Arc<Dataset>| {
            let (kind, params) = spec.params(&newest)?;
            let mut dataset = (*newest).clone();
            let column = path(&spec.column);
            let columns = [column.as_str()];
            let build = dataset
                .create_index_builder(&columns, kind, params.as_ref())
                .name(spec.name.clone())
                .replace(spec.replace)
                .progress(self.build.clone());
            let build = async { build.await.map_err(build_fault) };
            self.build.unless_cancelled(build).await?;
            Ok(dataset)
        })
    }

    pub fn drop_index(&self, name: &str) -> Result<Arc<Snapshot>> {
        self.retry(async |newest: Arc<Dataset>| {
            let mut dataset = (*newest).clone();
            dataset.drop_index(name).await?;
            Ok(dataset)
        })
    }

    /// Lets the named indexes take in the rows that they lack.
    pub fn extend_indexes(&self, names: &[String]) -> Result<Arc<Snapshot>> {
        self.retry(async |newest: Arc<Dataset>| {
            let mut dataset = (*newest).clone();
            for name in names {
                let parts = dataset.load_indices_by_name(name).await?.len();
                let options = match parts > MANY_PARTS {
                    true => OptimizeOptions::merge(parts),
                    false => OptimizeOptions::default(),
                };
                let options = options.index_names(vec![name.clone()]);
                let extend = async { Ok(dataset.optimize_indices(&options).await?) };
                self.build.unless_cancelled(extend).await?;
            }
            Ok(dataset)
        })
    }
}

/// What cannot be indexed is the caller's fault.
fn build_fault(e: lance::Error) -> Error {
    match e {
        lance::Error::Index { .. } | lance::Error::NotSupported { .. } => invalid(e),
        e => e.into(),
    }
}

impl Snapshot {
    /// Describes the indexes, as JSON.
    pub fn indexes(&self) -> Result<String> {
        block_on(async {
            let mut out = Vec::new();
            for index in self.dataset.describe_indices(None).await? {
                let missing = self.dataset.unindexed_fragments(index.name()).await?;
                let missing: u64 =
                    missing.iter().filter_map(|f| f.num_rows()).sum::<usize>() as u64;
                let column = index
                    .field_ids()
                    .first()
                    .and_then(|&id| self.dataset.schema().field_by_id(id as i32));
                let details: Value = index
                    .details()
                    .ok()
                    .and_then(|text| serde_json::from_str(&text).ok())
                    .unwrap_or(Value::Null);
                out.push(json!({
                    "name": index.name(),
                    "column": column.map(|f| f.name.as_str()).unwrap_or_default(),
                    "type": index.index_type(),
                    "rows_indexed": self.rows() - missing.min(self.rows()),
                    "rows_unindexed": missing,
                    "parts": index.segments().len(),
                    "bytes": index.total_size_bytes(),
                    "details": details,
                }));
            }
            serde_json::to_string(&out).map_err(Error::internal)
        })
    }

    /// What Lance says of one index, as JSON.
    pub fn index_statistics(&self, name: &str) -> Result<String> {
        Ok(block_on(self.dataset.index_statistics(name))?)
    }
}

#[cfg(test)]
mod tests {
    use super::sub_vectors;

    #[test]
    fn vectors_are_cut_evenly() {
        for (dimensions, want) in [
            (1536, 96),
            (768, 48),
            (128, 16),
            (100, 25),
            (16, 16),
            (7, 7),
        ] {
            assert_eq!(sub_vectors(dimensions), want, "{dimensions}");
        }
    }
}
