pub use lancedb_go as _keep;
