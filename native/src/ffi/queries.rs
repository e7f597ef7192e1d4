//! Queries and indexes.

use std::sync::Arc;

use super::export;
use crate::error::Error;
use crate::index::Spec;
use crate::query::Query;
use crate::read::Reader;
use crate::snapshot::Snapshot;
use crate::table::Table;

export! {
    /// Runs a query, a JSON object of which all members are optional:
    ///
    ///   filter        SQL
    ///   names         an object: names in the filter that stand for stored ones
    ///   columns       stored top-level names; absent: all
    ///   with_offset   whether an int64 column _offset with the row ids comes last
    ///   limit, offset of the rows that pass; not with a search
    ///   order_by      a list of {column, descending}; nulls come last, and rows that
    ///                 are equal by row id
    ///   search        {columns, text, k, metric, nprobes, refine, ef}: the k best;
    ///                 without a text those nearest to the vector, and then float32
    ///                 columns _distance or _score follow the named ones
    ///   without_index whether to leave indexes alone
    ///   no_wait       whether PN_WOULD_BLOCK is the answer where another thread, or a
    ///                 disk, would have to be waited for, or that is not a few rows
    ///                 that indexes find
    ///
    /// PN_INVALID_ARGUMENT, with the place in the filter where there is one, when it
    /// makes no sense.
    fn pn_snapshot_query(snapshot: &Arc<Snapshot>, query: &str, vector: Option<&[f64]>) -> Reader {
        snapshot.query(&Query::parse(query)?, vector)
    }

    /// How many rows pass the filter of a query, of which nothing else counts.
    fn pn_snapshot_count(snapshot: &Arc<Snapshot>, query: &str) -> i64 {
        Ok(snapshot.count(&Query::parse(query)?)? as i64)
    }

    /// The plan of a query.
    fn pn_snapshot_explain(
        snapshot: &Arc<Snapshot>,
        query: &str,
        vector: Option<&[f64]>,
    ) -> String {
        snapshot.explain(&Query::parse(query)?, vector)
    }

    /// Builds an index and commits it. index is a JSON object: column (a stored
    /// top-level name), type (btree, bitmap, label_list, ngram, zonemap, bloom_filter,
    /// inverted, ivf_flat, ivf_pq, ivf_sq, ivf_hnsw_flat, ivf_hnsw_pq, ivf_hnsw_sq),
    /// name, replace, and options, an object: the type's own. May run while another
    /// thread appends, not while one compacts. Nothing is fsynced.
    fn pn_table_create_index(table: &Table, index: &str) -> Arc<Snapshot> {
        table.create_index(&Spec::parse(index)?)
    }

    /// How far the build is that runs now: a JSON object of name, stage, completed, total
    /// (or null) and unit, or null.
    fn pn_table_index_progress(table: &Table) -> String {
        serde_json::to_string(&table.build.progress()).map_err(Error::internal)
    }

    /// Has pn_table_create_index and pn_table_extend_indexes end soon with
    /// PN_CANCELLED, those that run and those to come. What they did is void, or a
    /// version that nobody was told of.
    fn pn_table_cancel_indexes(table: &Table) {
        table.build.cancel();
        Ok(())
    }

    /// Removes an index; its files go with the versions that have it.
    fn pn_table_drop_index(table: &Table, name: &str) -> Arc<Snapshot> {
        table.drop_index(name)
    }

    /// Lets the named indexes take in the rows that they lack. The result is the version
    /// after it, new or not.
    fn pn_table_extend_indexes(table: &Table, names: Option<Vec<String>>) -> Arc<Snapshot> {
        table.extend_indexes(&names.unwrap_or_default())
    }

    /// The indexes, a JSON list of objects: name, column, type, rows_indexed,
    /// rows_unindexed, parts, bytes, details.
    fn pn_snapshot_indexes(snapshot: &Arc<Snapshot>) -> String {
        snapshot.indexes()
    }

    /// What Lance says of one index, as JSON.
    fn pn_snapshot_index_statistics(snapshot: &Arc<Snapshot>, name: &str) -> String {
        snapshot.index_statistics(name)
    }
}
