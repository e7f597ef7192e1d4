//! Versions of a table that another process may change, and tables in memory on top of them.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use arrow_array::RecordBatch;
use arrow_schema::Schema as ArrowSchema;
use lance::dataset::builder::DatasetBuilder;
use lance::dataset::WriteMode;
use lance::session::Session;
use lance::Dataset;
use lance_io::object_store::{ObjectStore, ObjectStoreRegistry};
use object_store::path::Path as StorePath;

use crate::error::{Error, Result, Status};
use crate::files::{index_files, manifest_name};
use crate::fragments::fragment_files;
use crate::overlay::{Held, Overlay};
use crate::runtime::{block_on, private_session, spawn};
use crate::snapshot::{Shared, Snapshot};
use crate::table::{reader, write_params, Newest, Options, Table};

/// Where a table is, for the system and for Lance.
struct Place<'a> {
    dir: &'a Path,
    uri: String,
    root: StorePath,
}

impl<'a> Place<'a> {
    fn of(dir: &'a str) -> Result<Self> {
        let uri = Overlay::uri(dir)?;
        let registry = Arc::new(ObjectStoreRegistry::default());
        let root = ObjectStore::extract_path_from_uri(registry, &uri)?;
        let dir = Path::new(dir);
        Ok(Self { dir, uri, root })
    }

    fn path(&self, name: &str) -> StorePath {
        name.split('/')
            .fold(self.root.clone(), |path, part| path.join(part))
    }

    fn open(&self, name: &str) -> Result<Held> {
        Held::open(&self.dir.join(name)).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Error::new(Status::NotFound, format!("{name} is gone")),
            _ => e.into(),
        })
    }

    async fn load(
        &self,
        overlay: &Overlay,
        version: u64,
        session: Arc<Session>,
    ) -> Result<Dataset> {
        let builder = DatasetBuilder::from_uri(&self.uri)
            .with_version(version)
            .with_store_params(overlay.params())
            .with_session(session);
        Ok(builder.load().await?)
    }
}

/// Opens one version of a table and all its files, which stay readable whoever removes them.
/// `NotFound` where one is gone already. Files, caches and the numbers of schemas of `before`,
/// another version of the table, are shared.
pub fn open(
    dir: &str,
    version: u64,
    before: Option<&Snapshot>,
    options: &Options,
) -> Result<Arc<Snapshot>> {
    let place = Place::of(dir)?;
    let overlay = Overlay::default();
    block_on(async {
        let manifest = manifest_name(version);
        let content = place.open(&manifest)?.content()?;
        overlay.copy(&place.path(&manifest), content).await?;
        let session = match before {
            Some(before) => before.dataset.session(),
            None => Arc::new(Session::new(
                options.index_cache_bytes as usize,
                options.metadata_cache_bytes as usize,
                Default::default(),
            )),
        };
        let dataset = place.load(&overlay, version, session).await?;
        let known = before.and_then(|b| b.overlay.get());
        let fragments = dataset.fragments().iter().flat_map(fragment_files);
        for name in fragments.chain(index_files(&dataset, place.dir).await?) {
            let path = place.path(&name);
            let file = match known.and_then(|known| known.held(&path)) {
                Some(file) => file,
                None => place.open(&name)?,
            };
            overlay.hold(path, file);
        }
        let shared = match before {
            Some(before) => before.shared.clone(),
            None => {
                let fragments = options.open_fragments as usize;
                Shared::new(&dataset, fragments, options.io_buffer_bytes).await?
            }
        };
        Ok(snapshot(dataset, shared, overlay))
    })
}

fn snapshot(dataset: Dataset, shared: Arc<Shared>, overlay: Overlay) -> Arc<Snapshot> {
    let mut versions = shared.versions.lock();
    let snapshot = Snapshot::new(Arc::new(dataset), shared.clone(), &mut versions);
    let _ = snapshot.overlay.set(overlay); // it is new and has none
    snapshot
}

impl Snapshot {
    /// A table whose newest version is this one, and whose later ones are in memory. It shares
    /// no cache: its next version has a number that another one has on disk.
    pub fn in_memory(&self, dir: &str, options: &Options) -> Result<Table> {
        let place = Place::of(dir)?;
        let held = self.overlay.get();
        let overlay =
            held.ok_or_else(|| Error::internal("the files of the version are not held"))?;
        block_on(async {
            let own = overlay.apart();
            let version = self.dataset.version_id();
            let dataset = place.load(&own, version, private_session()).await?;
            table(dataset, options).await
        })
    }
}

/// Makes a table in memory.
pub fn create(
    dir: &str,
    batches: Vec<RecordBatch>,
    schema: Arc<ArrowSchema>,
    options: &Options,
) -> Result<Table> {
    let uri = Overlay::uri(dir)?;
    block_on(async {
        let mut params = write_params(WriteMode::Create);
        params.store_params = Some(Overlay::default().params());
        params.session = Some(private_session());
        let write = async move {
            Ok(Dataset::write(reader(batches, schema), uri.as_str(), Some(params)).await?)
        };
        table(spawn(write).await?, options).await
    })
}

async fn table(dataset: Dataset, options: &Options) -> Result<Table> {
    let fragments = options.open_fragments as usize;
    let shared = Shared::new(&dataset, fragments, options.io_buffer_bytes).await?;
    Ok(Table::new(
        Newest::Own(Mutex::new(Arc::new(dataset))),
        shared,
    ))
}
