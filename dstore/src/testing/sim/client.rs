//! A client on a host of its own, which can be killed in the middle of whatever it does.

use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::host::SimEnv;
use super::network::{SimHost, SimNet};
use crate::client::{Client, ClientBuilder};
use crate::rt::{Env, Rt};

/// What changes the settings of a client.
pub(super) type Settings = Arc<dyn Fn(ClientBuilder) -> ClientBuilder + Send + Sync>;

/// A client of a simulation's owner and ledger, on a host of its own. It can be used as a [`Client`]; what must end with
/// its host is started with [`SimClient::spawn`].
pub struct SimClient {
    net: SimNet,
    index: usize,
    settings: Settings,
    env: SimEnv,
    client: Client,
}

impl SimClient {
    pub(super) async fn start(net: SimNet, index: usize, settings: Settings) -> Self {
        let env = net.env(SimHost::Client(index));
        // The settings hold what survives the host of a client: its journal.
        let builder = net.client_builder(Rt::new(env.clone()));
        let client = settings(builder).connect().await.expect("a client in memory connects");
        Self { net, index, settings, env, client }
    }

    /// Its host.
    #[must_use]
    pub fn host(&self) -> SimHost {
        SimHost::Client(self.index)
    }

    /// Starts work that ends with the host.
    pub fn spawn<T, F>(&self, work: impl FnOnce(Client) -> F) -> Running<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let work = work(self.client.clone());
        Running::start(&self.env, work)
    }

    /// Waits for what the client does in the background, as [`Client::close`] does.
    pub async fn close(&self) {
        self.client.clone().close().await;
    }

    /// Ends the host with everything that was spawned there, and with background work of the client.
    pub fn kill(&self) {
        self.net.kill(self.host());
    }

    /// Kills it, and starts a new one at the same host with the same settings, owner and ledger.
    pub async fn restart(&mut self) {
        self.kill();
        *self = Self::start(self.net.clone(), self.index, self.settings.clone()).await;
    }
}

impl Deref for SimClient {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl fmt::Debug for SimClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimClient").field("host", &self.host()).finish_non_exhaustive()
    }
}

/// Work under way at a host: `None` when the host was killed before it ended. Dropping it lets the work go on.
#[derive(Debug)]
pub struct Running<T>(futures_channel::oneshot::Receiver<T>);

impl<T: Send + 'static> Running<T> {
    pub(super) fn start(env: &SimEnv, work: impl Future<Output = T> + Send + 'static) -> Self {
        let (done, result) = futures_channel::oneshot::channel();
        env.spawn(Box::pin(async move {
            let _ = done.send(work.await);
        }));
        Self(result)
    }
}

impl<T> Future for Running<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        Pin::new(&mut self.0).poll(cx).map(Result::ok)
    }
}
