//! A network of its own: hosts are namespaces of this machine, joined by a bridge in another one, each with its cable
//! and its address. A cable is pulled at the bridge: both its ends stay up and packets vanish, without any word to
//! whoever sent them.
//!
//! Each namespace is held by a process that ends with its standard input: nothing of it has a name or outlives the
//! test, however that ends, and the machine's own network does not change.

use std::{
    io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{ChildStdin, Command},
    time::Duration,
};

use anyhow::{Context, ensure};

use crate::{fleet::Scene, process::Process, wait::until};

const PATIENCE: Duration = Duration::from_secs(30);
/// A bridge and a cable, to see whether they can be had.
const TRIAL: &str = "ip link add wire type bridge && ip link add near type veth peer name far";
/// Enters the names that a host knows, in its own view of the files, and stays.
const HOLD: &str = "mount --bind \"$0\" /etc/hosts && ip link set lo up && echo up && exec cat";
/// Joining a view of the files forgets the working directory.
const ENTER: &str = "cd \"$0\" && exec \"$@\"";

/// Hosts and what joins them.
#[derive(Debug)]
pub struct Network {
    scene: Scene,
    /// Names that every host knows.
    names: PathBuf,
    /// Where the bridge is; on it, for those who only ask.
    pub bridge: Host,
    hosts: u8,
}

/// A machine on the network.
#[derive(Debug)]
pub struct Host {
    /// Starts programs on it.
    pub scene: Scene,
    /// Where it is.
    pub address: Ipv4Addr,
    /// The bridge's end of its cable.
    cable: String,
    holder: Process,
    /// Keeps the holder.
    _input: ChildStdin,
}

impl Network {
    /// An empty one for processes of this scene; none where the system has no namespaces for us, which is said.
    ///
    /// # Errors
    /// It can be had, and is not.
    pub fn start(scene: &Scene) -> anyhow::Result<Option<Self>> {
        if let Some(why) = refused() {
            eprintln!("skipped: network namespaces with iproute2, as root, cannot be had: {why}");
            return Ok(None);
        }
        let names = scene.write("hosts", "")?;
        let bridge = Host::start(scene, &names, 1)?;
        bridge.ip("link add wire type bridge")?;
        bridge.ip(&format!("address add {}/24 dev wire", bridge.address))?;
        bridge.ip("link set wire up")?;
        Ok(Some(Self { scene: scene.clone(), names, bridge, hosts: 1 }))
    }

    /// Another host, with its cable plugged in.
    ///
    /// # Errors
    /// The system refuses.
    pub fn host(&mut self) -> anyhow::Result<Host> {
        self.hosts += 1;
        let host = Host::start(&self.scene, &self.names, self.hosts)?;
        let (cable, id) = (&host.cable, host.holder.id());
        self.bridge.ip(&format!("link add {cable} type veth peer name eth0 netns {id}"))?;
        self.bridge.ip(&format!("link set {cable} up"))?;
        host.ip(&format!("address add {}/24 dev eth0", host.address))?;
        host.ip("link set eth0 up")?;
        self.plug(&host)?;
        Ok(host)
    }

    /// Pulls a host's cable.
    ///
    /// # Errors
    /// The system refuses.
    pub fn pull(&self, host: &Host) -> anyhow::Result<()> {
        self.bridge.ip(&format!("link set {} nomaster", host.cable))
    }

    /// Plugs it in again.
    ///
    /// # Errors
    /// The system refuses.
    pub fn plug(&self, host: &Host) -> anyhow::Result<()> {
        self.bridge.ip(&format!("link set {} master wire", host.cable))
    }

    /// Lets a name stand for a host from now on, and no name for any other.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn name(&self, name: &str, host: &Host) -> anyhow::Result<()> {
        // In place: the hosts hold on to this very file.
        Ok(std::fs::write(&self.names, format!("{} {name}\n", host.address))?)
    }
}

impl Host {
    fn start(scene: &Scene, names: &Path, number: u8) -> anyhow::Result<Self> {
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "sh", "-c", HOLD]).arg(names);
        let (mut holder, input) =
            Process::start_fed(&format!("host-{number}"), command, &scene.path("logs"))?;
        until("a host", PATIENCE, || {
            ensure!(holder.is_running()?, "no host: {}", holder.err());
            Ok(holder.out().contains("up").then_some(()))
        })?;
        let id = holder.id();
        let (net, files) = (format!("--net=/proc/{id}/ns/net"), format!("--mount=/proc/{id}/ns/mnt"));
        let here = scene.path("").to_string_lossy().into_owned();
        let enter = ["nsenter", &net, &files, "sh", "-c", ENTER, &here];
        Ok(Self {
            scene: scene.through(enter.map(str::to_owned).to_vec()),
            address: Ipv4Addr::new(10, 77, 0, number),
            cable: format!("host{number}"),
            holder,
            _input: input,
        })
    }

    /// Runs iproute2's `ip` on it.
    fn ip(&self, arguments: &str) -> anyhow::Result<()> {
        let net = format!("--net=/proc/{}/ns/net", self.holder.id());
        let ran = Command::new("nsenter").args([&net, "ip"]).args(arguments.split(' ')).output()?;
        let said = String::from_utf8_lossy(&ran.stderr);
        ensure!(ran.status.success(), "ip {arguments}: {}", said.trim());
        Ok(())
    }

    /// Segments of TCP that it had to send again, since it is there: those that vanished.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn sent_again(&self) -> anyhow::Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/net/snmp", self.holder.id()))?;
        // A line of names and one of values.
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
        let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        let mut columns = names.split(' ').zip(values.split(' '));
        let (_, value) = columns.find(|(name, _)| *name == "RetransSegs").context("RetransSegs")?;
        Ok(value.parse()?)
    }
}

/// Why there can be no namespaces, bridges or cables.
fn refused() -> Option<String> {
    let tried = Command::new("unshare").args(["--net", "--mount", "sh", "-c", TRIAL]).output();
    match tried {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some("there is no unshare".to_owned()),
        Err(error) => Some(error.to_string()),
        Ok(tried) if tried.status.success() => None,
        Ok(tried) => Some(String::from_utf8_lossy(&tried.stderr).trim().to_owned()),
    }
}
