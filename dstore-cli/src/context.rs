//! What every command starts from: settings, the folder, the way to print, and a client made of them.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::ArgMatches;
use clap::parser::ValueSource;
use dstore::config::{self, Config, Key, LedgerKind, OwnerKey, Variables};
use dstore::id::ContractId;
use dstore::ledger::EthereumAccount;
use dstore::rt::Rt;
use dstore::{Client, Owner, RegistryAddr};
use futures_lite::future::or;
use zeroize::Zeroizing;

use crate::failure::{Failure, Result};
use crate::output::{Bars, Output, When};
use crate::text;

/// What every command starts from.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// All settings.
    pub(crate) config: Config,
    /// The folder of this client, node or registry.
    pub(crate) dir: PathBuf,
    /// The way to print.
    pub(crate) out: Output,
    /// The owner's client, once there is one.
    client: Arc<OnceLock<Client>>,
    /// The owner, once its key was read: that of a keystore costs seconds, and maybe a question.
    owner: Arc<OnceLock<Owner>>,
}

/// How long the end of a command waits for what is not needed for its success, such as retiring replaced versions.
const CLOSING: Duration = Duration::from_secs(2);

/// Whose folder a command uses when none is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Home {
    /// The platform's data folder.
    Client,
    /// `node` in it.
    Node,
    /// `registry` in it.
    Registry,
    /// `dstore-dev` in the current folder. Only the flag changes it: `DSTORE_DIR` names a client's folder there.
    Dev,
}

impl Home {
    fn name(self) -> &'static str {
        match self {
            Self::Client => config::CLIENT_HOME,
            Self::Node => "dstore/node",
            Self::Registry => "dstore/registry",
            Self::Dev => "dstore-dev",
        }
    }

    /// The settings of a command at home there.
    fn of(self, config: Config) -> Config {
        let is_named = config.value(&Key::DIR).is_some_and(|dir| dir.origin == config::Origin::Flag);
        if self == Self::Dev && !is_named { config.flag(&Key::DIR, self.name()) } else { config }
    }
}

impl Context {
    /// Gathers flags, environment, `.env` and config file.
    pub(crate) fn new(matches: &ArgMatches, home: Home) -> Result<Self> {
        let config = home.of(flags(matches, Config::new()).env(environment()));
        let (config, dir) = config::gather(config, data_folder().as_deref(), home.name())?;
        let out = output(&config)?;
        Ok(Self { config, dir, out, client: Arc::default(), owner: Arc::default() })
    }

    /// Tells what does not stop anything but should be known of the settings.
    pub(crate) fn warn(&self) {
        for warning in self.config.warnings() {
            self.out.warning("config", &warning);
        }
    }

    /// The registries that are configured.
    pub(crate) fn registries(&self) -> Result<Vec<RegistryAddr>> {
        Ok(self.config.list(&Key::REGISTRY, str::parse)?)
    }

    /// The registries that are configured, at least one.
    pub(crate) fn required_registries(&self) -> Result<Vec<RegistryAddr>> {
        let registries = self.registries()?;
        if registries.is_empty() {
            let file = self.dir.join(config::CONFIG_FILE);
            return Err(Failure::new("config", "no registry is set, neither with --registry nor as DSTORE_REGISTRY")
                .hint("set DSTORE_REGISTRY=dsr1:... in the environment or in .env")
                .hint(format!("to keep it, run dstore-cli init --registry dsr1:..., which writes {}", file.display()))
                .hint("a registry prints its address when it starts: dstore-cli registry run"));
        }
        Ok(registries)
    }

    /// A client that reads what it knows, without any registry if need be.
    pub(crate) async fn client(&self) -> Result<Client> {
        self.client_with(|builder| builder).await
    }

    /// A client that stores files.
    pub(crate) async fn storing_client(&self) -> Result<Client> {
        self.required_registries()?;
        self.client().await
    }

    /// A client with a change to what the settings say.
    pub(crate) async fn client_with(
        &self,
        change: impl FnOnce(dstore::ClientBuilder) -> dstore::ClientBuilder,
    ) -> Result<Client> {
        let owner = self.required_owner()?;
        match self.ledger_kind()? {
            LedgerKind::Memory => self
                .out
                .warning("ledger_memory", "with --ledger memory, what is stored is forgotten when this command ends"),
            LedgerKind::Ethereum => drop(self.required_contract()?),
            _ => {}
        }
        let client = change(config::client_of(&self.config, &self.dir, owner)?).connect().await?;
        // A command makes one; of several, the first would be waited for.
        let _ = self.client.set(client.clone());
        Ok(client)
    }

    /// A client of the owner that opens no ledger: to look for one that is lost.
    pub(crate) async fn client_without_ledger(&self) -> Result<Client> {
        self.required_registries()?;
        let owner = self.known_owner()?;
        let config = self.config.clone().flag(&Key::LEDGER, "memory");
        Ok(config::client_of(&config, &self.dir, owner)?.connect().await?)
    }

    /// The owner, who has a key already: a new one would find nothing.
    pub(crate) fn known_owner(&self) -> Result<Owner> {
        self.required_owner().map_err(|mut failure| {
            failure.hints.retain(|hint| !hint.contains("dstore-cli init"));
            failure.hint("no other key finds your files: put the copy of yours there")
        })
    }

    /// Where records are kept.
    pub(crate) fn ledger_kind(&self) -> Result<LedgerKind> {
        Ok(config::ledger_kind(&self.config)?)
    }

    /// This with `value` for a setting that nobody has set.
    pub(crate) fn or(&self, key: &Key, value: &str) -> Self {
        let is_set = self.config.value(key).is_some_and(|value| value.origin != config::Origin::Default);
        let mut context = self.clone();
        if !is_set {
            context.config = context.config.flag(key, value);
        }
        context
    }

    /// The owner's account on the chain that is configured. Asks nobody yet.
    pub(crate) fn account(&self) -> Result<EthereumAccount> {
        let owner = self.required_owner()?;
        let ethereum = config::ethereum(&self.config).map_err(|error| {
            Failure::from(error).hint("with ALCHEMY_API_KEY or ETH_RPC_URL in .env, nothing else is needed to reach it")
        })?;
        Ok(EthereumAccount::new(ethereum, &owner))
    }

    /// The contract that is configured.
    pub(crate) fn required_contract(&self) -> Result<ContractId> {
        let chain = self.config.value(&Key::CHAIN).map_or_else(String::new, |chain| format!(" --chain {chain}"));
        config::contract(&self.config)?.ok_or_else(|| {
            Failure::new("config", "no contract is set, neither with --contract nor as DSTORE_CONTRACT")
                .hint(format!("if you have none yet, put one on the chain: dstore-cli contract deploy{chain}"))
                .hint("to keep it, set DSTORE_CONTRACT=0x... in .env, or contract = \"0x...\" in config.toml")
        })
    }

    /// The owner, if there is a key. That of a keystore may need a password: on a terminal it is asked for.
    pub(crate) fn owner(&self) -> Result<Option<Owner>> {
        if let Some(owner) = self.owner.get() {
            return Ok(Some(owner.clone()));
        }
        let owner = match config::owner_key(&self.config, &self.dir)? {
            OwnerKey::Keystore(path, _) if config::keystore_password(&self.config)?.is_none() && is_terminal() => {
                let password = asked_password(&path)?;
                Some(Owner::open_keystore(&path, &password)?)
            }
            _ => config::owner(&self.config, &self.dir)?,
        };
        Ok(owner.map(|owner| self.owner.get_or_init(|| owner).clone()))
    }

    /// The owner, who must have a key.
    pub(crate) fn required_owner(&self) -> Result<Owner> {
        self.owner()?.ok_or_else(|| {
            let file = self.dir.join(config::OWNER_FILE);
            Failure::new("config", format!("no owner key: {} is not there", file.display()))
                .hint("make one with dstore-cli init --registry dsr1:...")
                .hint("if you have one, set ETH_PRIVATE_KEY, ETH_PRIVATE_KEY_FILE or ETH_KEYSTORE in the environment or in .env")
                .hint("if it is in another folder, name that with --dir or DSTORE_DIR")
        })
    }

    /// Gives what the client does in the background a moment: a node that has stopped must not hold up the end.
    pub(crate) async fn close(&self) {
        if let Some(client) = self.client.get() {
            or(client.clone().close(), Rt::default().env().sleep(CLOSING)).await;
        }
    }

    /// A client that only asks registries and nodes how they are: nobody in particular.
    pub(crate) async fn asking_client(&self) -> Result<Client> {
        let mut builder =
            Client::builder().owner(Owner::generate(&Rt::default())).ledger(dstore::ledger::MemoryLedger::default());
        for registry in self.required_registries()? {
            builder = builder.registry(registry);
        }
        if let Some(network) = self.config.value(&Key::NETWORK) {
            builder = builder.network(network.text());
        }
        if let Some(timeout) = self.config.duration(&Key::TIMEOUT)? {
            builder = builder.timeout(timeout);
        }
        Ok(builder.connect().await?)
    }
}

/// The output that the command line alone asks for: for when the rest cannot be read.
pub(crate) fn first_output(arguments: &[std::ffi::OsString]) -> Output {
    let given = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let color = match () {
        () if given("--color=never") => When::Never,
        () if given("--color=always") => When::Always,
        () => When::Auto,
    };
    Output { json: given("--json"), color, verbose: u8::from(given("-v")), ..Output::default() }
}

fn output(config: &Config) -> Result<Output> {
    Ok(Output {
        json: config.is_on(&Key::JSON)?,
        quiet: config.is_on(&Key::QUIET)?,
        verbose: config.parsed(&Key::VERBOSE, str::parse)?.unwrap_or(0),
        color: config.parsed(&Key::COLOR, When::parse)?.unwrap_or_default(),
        progress: config.parsed(&Key::PROGRESS, Bars::parse)?.unwrap_or_default(),
        ..Output::default()
    })
}

/// Every flag that is a setting, from the whole chain of subcommands.
fn flags(matches: &ArgMatches, mut config: Config) -> Config {
    for key in Key::ALL {
        let typed = matches!(matches.try_contains_id(key.name), Ok(true))
            && matches.value_source(key.name) == Some(ValueSource::CommandLine);
        if !typed {
            continue;
        }
        let value = match key {
            &Key::VERBOSE => matches.get_count(key.name).to_string(),
            _ => {
                let values = matches.get_raw(key.name).into_iter().flatten();
                values.map(|value| value.to_string_lossy()).collect::<Vec<_>>().join(",")
            }
        };
        config = config.flag(key, value);
    }
    match matches.subcommand() {
        Some((_, matches)) => flags(matches, config),
        None => config,
    }
}

/// Whether there is somebody to ask.
fn is_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks for the password of a keystore, which is not shown as it is typed.
fn asked_password(path: &Path) -> Result<Zeroizing<String>> {
    let question = format!("Password of {}: ", text::harmless(&path.display().to_string()));
    rpassword::prompt_password(question).map(Zeroizing::new).map_err(|error| match error.kind() {
        std::io::ErrorKind::Interrupted => Failure::interrupted(2),
        _ => Failure::io("cannot ask for the password", error),
    })
}

/// The platform's data folder.
fn data_folder() -> Option<PathBuf> {
    use etcetera::BaseStrategy;
    Some(etcetera::choose_base_strategy().ok()?.data_dir())
}

/// Variables that are not Unicode are none of ours.
fn environment() -> Variables {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
