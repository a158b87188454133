//! A real Elasticsearch or OpenSearch: one node on loopback, with its own archive from Maven Central.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::elastic::ElasticApi;
use crate::process::{Process, command};
use crate::{free_port, reaper, repository};

/// It is ready in 15 s on two idle cores, and in many times that when everything else is being built meanwhile.
const READY_WITHIN: Duration = Duration::from_secs(300);
/// Neither server starts as root, so as root they are started as this user: `nobody`.
const NOBODY: &str = "65534";
/// Enough for some thousand small documents, and no more taken from the tests.
const JVM: &str = "-Xms512m\n-Xmx512m\n-XX:+UseSerialGC\n-XX:TieredStopAtLevel=1\n";
/// What it says goes to its standard output, where [`Process`] keeps it.
const LOGGING: &str = "status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %-5p %c{1.} %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
logger.node.name = org.PROGRAM.node.Node
logger.node.level = info
";

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// Elasticsearch.
    Elasticsearch,
    /// OpenSearch.
    OpenSearch,
}

impl Product {
    /// Its name, which is also that of its program, its configuration file, and its archive.
    pub const fn name(self) -> &'static str {
        match self {
            Product::Elasticsearch => "elasticsearch",
            Product::OpenSearch => "opensearch",
        }
    }

    /// Where its archive is unpacked.
    fn home(self) -> PathBuf {
        let folder = folder();
        let wanted = format!("{}-", self.name());
        let entries = std::fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}: run scripts/install.sh elastic", folder.display()));
        entries
            .filter_map(Result::ok)
            .find(|entry| entry.file_name().to_string_lossy().starts_with(&wanted))
            .unwrap_or_else(|| panic!("no {wanted}* in {}", folder.display()))
            .path()
    }
}

/// One node, alone in its cluster, without security.
#[derive(Debug)]
pub struct ElasticNode {
    api: ElasticApi,
    process: Process,
    _dir: tempfile::TempDir,
}

impl ElasticNode {
    /// Starts one on a free port, and returns when it answers.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start(product: Product) -> Self {
        let (name, port) = (product.name(), free_port());
        // Elasticsearch lets nothing of its own lie under /tmp, where others may write.
        let dir = reaper::directory_in(&folder(), name);
        for folder in ["conf", "data", "logs", "tmp"] {
            std::fs::create_dir(dir.path().join(folder)).expect("the directory is ours");
        }
        let write = |file: &str, text: &str| {
            std::fs::write(dir.path().join("conf").join(file), text).expect("the directory is ours");
        };
        write(&format!("{name}.yml"), &settings(product, port, dir.path()));
        write("jvm.options", JVM);
        write("log4j2.properties", &LOGGING.replace("PROGRAM", name));

        let program = product.home().join("bin").join(name);
        let mut server = if rustix::process::geteuid().is_root() {
            // Another user in name alone, who may read and write what is ours.
            let mut server = command("unshare");
            server.args(["--user", "--map-user", NOBODY, "--map-group", NOBODY, "--"]);
            server.arg(program);
            server
        } else {
            command(program)
        };
        let (conf, tmp) = (dir.path().join("conf"), dir.path().join("tmp"));
        server.current_dir(dir.path());
        for prefix in ["ES", "OPENSEARCH"] {
            server.env(format!("{prefix}_JAVA_HOME"), java_home());
            server.env(format!("{prefix}_PATH_CONF"), &conf);
            server.env(format!("{prefix}_TMPDIR"), &tmp);
        }
        let process = Process::start(name, &mut server);
        let api = ElasticApi::at(format!("http://127.0.0.1:{port}"));
        // Only this takes a shard, which is what a test needs.
        process.wait("an index", READY_WITHIN, || api.try_create("ready").then_some(()));
        ElasticNode {
            api,
            process,
            _dir: dir,
        }
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

impl Deref for ElasticNode {
    type Target = ElasticApi;

    fn deref(&self) -> &ElasticApi {
        &self.api
    }
}

/// Where `scripts/install.sh elastic` unpacks the archives.
fn folder() -> PathBuf {
    repository().join(".cache/elastic")
}

fn settings(product: Product, port: u16, dir: &Path) -> String {
    let more = match product {
        Product::Elasticsearch => "xpack.security.enabled: false\n",
        Product::OpenSearch => "",
    };
    let transport = free_port();
    let dir = dir.display();
    format!(
        "discovery.type: single-node\nnetwork.host: 127.0.0.1\nhttp.port: {port}\ntransport.port: {transport}\n\
         path.data: {dir}/data\npath.logs: {dir}/logs\n\
         # Else a machine whose disk is nearly full would refuse writes.\n\
         cluster.routing.allocation.disk.threshold_enabled: false\n{more}"
    )
}

/// Where the `java` of the search path is, through all links.
fn java_home() -> PathBuf {
    if let Some(home) = std::env::var_os("JAVA_HOME") {
        return home.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let java = std::env::split_paths(&path)
        .find_map(|folder| folder.join("java").canonicalize().ok())
        .expect("no java: run scripts/install.sh elastic");
    // HOME/bin/java
    java.ancestors().nth(2).expect("a file in a directory").to_owned()
}
