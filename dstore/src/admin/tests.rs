//! The operator's pages among monitors, the hasty and the hostile.

use std::sync::Mutex;

use futures_lite::future::block_on;

use super::*;
use crate::rt::Env;
use crate::testing::{HostEnv, MemoryNet};

struct Fake {
    problems: Mutex<Vec<Problem>>,
    hangs: bool,
}

impl Subject for Fake {
    fn metrics(&self) -> String {
        "# EOF\n".to_owned()
    }

    fn faults(&self) -> BoxFuture<'_, Vec<Problem>> {
        Box::pin(async {
            if self.hangs {
                pending::<()>().await;
            }
            self.problems.lock().expect("no panic").clone()
        })
    }

    fn obstacles(&self) -> BoxFuture<'_, Vec<Problem>> {
        self.faults()
    }
}

struct Scene {
    env: HostEnv,
    subject: Arc<Fake>,
    admin: Admin,
}

impl Scene {
    fn new(hangs: bool) -> Self {
        let env = MemoryNet::new().host();
        let subject = Arc::new(Fake { problems: Mutex::default(), hangs });
        let settings = AdminSettings { address: Some(format!("{}:0", env.ip())), public: true };
        let rt = Rt::new(env.clone());
        let admin = block_on(Admin::start(&rt, settings, subject.clone())).expect("it listens").expect("asked for");
        Self { env, subject, admin }
    }

    async fn connect(&self) -> Socket {
        Rt::new(self.env.clone()).dial(&self.admin.address().to_string()).await.expect("it listens")
    }

    /// Everything that is answered to these bytes.
    async fn ask(&self, bytes: &[u8]) -> String {
        let mut socket = self.connect().await;
        // A listener that has heard enough may hang up first.
        let _ = socket.writer.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = socket.reader.read_to_end(&mut answer).await;
        String::from_utf8(answer).expect("text")
    }

    async fn get(&self, path: &str) -> String {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n").as_bytes()).await
    }
}

#[test]
fn each_page_is_there_and_says_how_long_it_is() {
    let scene = Scene::new(false);
    block_on(async {
        let metrics = scene.get("/metrics").await;
        assert!(metrics.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text;"), "{metrics}");
        assert!(metrics.contains("\r\nContent-Length: 6\r\n") && metrics.ends_with("\r\n\r\n# EOF\n"), "{metrics}");
        assert!(scene.get("/healthz?verbose").await.ends_with("\r\n\r\nhealthy\n"));
        assert!(scene.get("/readyz").await.ends_with("\r\n\r\nready\n"));
        assert!(scene.get("/").await.starts_with("HTTP/1.1 404 "));
        assert!(scene.get("/metrics/").await.starts_with("HTTP/1.1 404 "));
    });
}

#[test]
fn what_is_wrong_is_said_line_by_line_until_it_is_right_again() {
    let scene = Scene::new(false);
    block_on(async {
        *scene.subject.problems.lock().expect("no panic") = vec![Problem::new("a", "one"), Problem::new("b", "two")];
        let red = scene.get("/readyz").await;
        assert!(red.starts_with("HTTP/1.1 503 ") && red.ends_with("\r\n\r\na: one\nb: two\n"), "{red}");
        scene.subject.problems.lock().expect("no panic").clear();
        assert!(scene.get("/readyz").await.starts_with("HTTP/1.1 200 "));
    });
}

#[test]
fn nothing_but_get_is_answered() {
    let scene = Scene::new(false);
    block_on(async {
        assert!(
            scene.ask(b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc").await.starts_with("HTTP/1.1 405 ")
        );
        assert!(scene.ask(&[0, 1, 2, 255, b'\r', b'\n', b'\r', b'\n']).await.starts_with("HTTP/1.1 400 "));
        assert!(scene.ask(b"GET /metrics\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
        let many = "a: b\r\n".repeat(MAX_HEADERS + 1);
        assert!(scene.ask(format!("GET / HTTP/1.1\r\n{many}\r\n").as_bytes()).await.starts_with("HTTP/1.1 400 "));
    });
}

#[test]
fn a_head_without_end_is_given_up_after_8_kib() {
    let scene = Scene::new(false);
    block_on(async {
        let endless = format!("GET /metrics HTTP/1.1\r\nX: {}", "y".repeat(1 << 20));
        assert!(scene.ask(endless.as_bytes()).await.starts_with("HTTP/1.1 431 "));
        assert!(scene.get("/healthz").await.starts_with("HTTP/1.1 200 "));
    });
}

#[test]
fn sixteen_who_say_nothing_hold_up_the_others_for_5_seconds_and_no_longer() {
    let scene = Scene::new(false);
    block_on(async {
        let began = scene.env.uptime();
        let mut silent = Vec::new();
        for _ in 0..AT_ONCE {
            let mut socket = scene.connect().await;
            socket.writer.write_all(b"G").await.expect("taken");
            silent.push(socket);
        }
        assert!(scene.get("/healthz").await.starts_with("HTTP/1.1 200 "), "once they are sent away");
        assert!(scene.env.uptime() - began >= TRANSFER, "there was a seventeenth place");
        let mut rest = Vec::new();
        silent[0].reader.read_to_end(&mut rest).await.expect("it was closed");
        assert!(rest.is_empty());
    });
}

#[test]
fn a_check_that_hangs_is_a_fault() {
    let scene = Scene::new(true);
    block_on(async {
        let page = scene.get("/healthz").await;
        assert!(page.starts_with("HTTP/1.1 503 ") && page.contains("\r\n\r\nstuck: "), "{page}");
        assert!(scene.get("/metrics").await.starts_with("HTTP/1.1 200 "));
    });
}

#[test]
fn an_address_that_others_can_reach_must_be_asked_for() {
    let env = MemoryNet::new().host();
    let settings = AdminSettings { address: Some(format!("{}:0", env.ip())), public: false };
    let subject = Arc::new(Fake { problems: Mutex::default(), hangs: false });
    let refused = block_on(Admin::start(&Rt::new(env), settings, subject)).expect_err("not on this machine only");
    assert_eq!(refused.code(), "config");
    assert!(refused.to_string().contains("--admin-public"), "{refused}");
}
