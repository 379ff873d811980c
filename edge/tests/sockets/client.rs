//! A client of few words.

use std::net::SocketAddr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::PATIENCE;

pub(crate) const HEADER: &str = "<stream:stream xmlns='jabber:client' \
     xmlns:stream='http://etherx.jabber.org/streams' to='localhost' version='1.0'>";

pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Transport for T {}

pub(crate) struct Client<T = TcpStream> {
    pub(crate) transport: T,
    /// Received and not yet asked for.
    pub(crate) received: String,
}

impl Client {
    pub(crate) async fn connect(at: SocketAddr) -> Self {
        Self::over(TcpStream::connect(at).await.expect("connected"))
    }

    /// A client logged in without TLS, with resource `there`.
    pub(crate) async fn bound(at: SocketAddr, user: &str) -> Self {
        let mut client = Self::connect(at).await;
        client
            .authenticate("SCRAM-SHA-1", &format!("n,,n={user},r=x"))
            .await;
        client.bind("there").await;
        client
    }
}

impl<T: Transport> Client<T> {
    pub(crate) fn over(transport: T) -> Self {
        Self {
            transport,
            received: String::new(),
        }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.transport
            .write_all(text.as_bytes())
            .await
            .expect("sent");
        self.transport.flush().await.expect("flushed");
    }

    /// Reads until `text` has come; forgets everything up to it, and returns that.
    pub(crate) async fn expect(&mut self, text: &str) -> String {
        loop {
            if let Some(at) = self.received.find(text) {
                let rest = self.received.split_off(at + text.len());
                return std::mem::replace(&mut self.received, rest);
            }
            assert!(
                self.read().await,
                "closed before {text:?}, after {:?}",
                self.received
            );
        }
    }

    /// Reads to the end. A reset is an end too.
    pub(crate) async fn expect_end(&mut self) -> String {
        while self.read().await {}
        std::mem::take(&mut self.received)
    }

    async fn read(&mut self) -> bool {
        let mut buffer = vec![0; 64 * 1024];
        let reading = tokio::time::timeout(PATIENCE, self.transport.read(&mut buffer));
        let length = reading.await.expect("something in time").unwrap_or(0);
        self.received
            .push_str(std::str::from_utf8(&buffer[..length]).expect("whole characters"));
        length > 0
    }

    /// Opens a stream and authenticates with this first message.
    pub(crate) async fn authenticate(&mut self, mechanism: &str, initial: &str) {
        self.send(HEADER).await;
        self.expect("</stream:features>").await;
        let initial = BASE64_STANDARD.encode(initial);
        let ns = "urn:ietf:params:xml:ns:xmpp-sasl";
        let auth = format!("<auth xmlns='{ns}' mechanism='{mechanism}'>{initial}</auth>");
        self.send(&auth).await;
        self.expect("<success").await;
    }

    /// Enables stream management.
    pub(crate) async fn enable(&mut self) {
        self.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
            .await;
        self.expect("<enabled ").await;
        self.expect("/>").await;
    }

    /// Says how many stanzas it has.
    pub(crate) async fn ack(&mut self, h: u32) {
        self.send(&format!("<a xmlns='urn:xmpp:sm:3' h='{h}'/>"))
            .await;
    }

    /// Opens the second stream and asks for a resource.
    pub(crate) async fn ask_to_bind(&mut self, resource: &str) {
        self.send(HEADER).await;
        self.expect("</stream:features>").await;
        let bind = format!(
            "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
             <resource>{resource}</resource></bind></iq>"
        );
        self.send(&bind).await;
    }

    pub(crate) async fn bind(&mut self, resource: &str) {
        self.ask_to_bind(resource).await;
        self.expect("</iq>").await;
    }
}
