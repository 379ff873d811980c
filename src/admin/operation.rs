//! Operation: one thing that can be asked: its route, its scope, its document and its handler.
//!
//! To add one: a function `async fn(Ask<B>) -> Answer` in the file of its subject, and its
//! [`Operation`] in the list there. From that come the route, the check of scope, the line of the
//! audit log and the entry in `/api/v1/openapi.json`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use serde::Serialize;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, ToSchema};

use super::Shared;
use super::access::Caller;
use super::ask::{Ask, Deed, forbidden};
use super::guard::BODY_BYTES_MAX;
use super::refusal::{Refusal, problem};
use crate::config::Scope;

/// What a handler answers.
pub(super) type Answer = Result<Response, Refusal>;

type Run<B> = dyn Fn(Ask<B>) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync;

/// Whose tokens are good for an operation. What changes something is never for `read-only`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Anybody's.
    Anybody,
    /// Those of the scopes server and read-only.
    Server,
    /// Those of the scope domain too: the handler says which one it is about.
    Domain,
}

/// One thing that can be asked.
pub(super) struct Operation<B> {
    /// Its name in the document and in the audit log.
    pub(super) id: &'static str,
    pub(super) method: Method,
    /// Below `/api/v1`.
    pub(super) path: &'static str,
    pub(super) reach: Reach,
    /// One line for the document.
    pub(super) text: &'static str,
    pub(super) parameters: Vec<Parameter>,
    pub(super) takes: Option<Shape>,
    pub(super) status: StatusCode,
    pub(super) gives: Option<Shape>,
    run: Arc<Run<B>>,
}

/// A body as the document describes it: the name of its schema, and those it refers to.
pub(super) struct Shape {
    pub(super) name: String,
    pub(super) schemas: Vec<(String, RefOr<Schema>)>,
}

// === impl Operation ===

impl<B: Send + Sync + 'static> Operation<B> {
    /// Something that is told, and changes nothing.
    pub(super) fn get<F>(
        id: &'static str,
        path: &'static str,
        run: impl Fn(Ask<B>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        Self::new(Method::GET, id, path, run)
    }

    /// Something that is done.
    pub(super) fn new<F>(
        method: Method,
        id: &'static str,
        path: &'static str,
        run: impl Fn(Ask<B>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        Self {
            id,
            method,
            path,
            reach: Reach::Server,
            text: "",
            parameters: Vec::new(),
            takes: None,
            status: StatusCode::NO_CONTENT,
            gives: None,
            run: Arc::new(move |ask| Box::pin(run(ask))),
        }
    }

    /// What it is for, in one line.
    pub(super) fn says(mut self, text: &'static str) -> Self {
        self.text = text;
        self
    }

    /// Whose tokens are good for it, if not only those of the server.
    pub(super) fn reaches(mut self, reach: Reach) -> Self {
        self.reach = reach;
        self
    }

    /// What stands in the query.
    pub(super) fn asks<T: IntoParams>(mut self) -> Self {
        let parameters = T::into_params(|| Some(ParameterIn::Query));
        self.parameters.extend(parameters);
        self
    }

    /// What it needs in the body.
    pub(super) fn takes<T: ToSchema>(mut self) -> Self {
        self.takes = Some(Shape::of::<T>());
        self
    }

    /// What it answers.
    pub(super) fn gives<T: ToSchema>(mut self) -> Self {
        self.gives = Some(Shape::of::<T>());
        self.status = StatusCode::OK;
        self
    }

    /// With which status, when all is well.
    pub(super) fn answers(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Adds its route.
    pub(super) fn route(self, router: Router<Arc<Shared<B>>>) -> Router<Arc<Shared<B>>> {
        let filter = MethodFilter::try_from(self.method.clone()).expect("a method of HTTP/1.1");
        let path = self.path;
        let operation = Arc::new(self);
        let handler = move |State(shared): State<Arc<Shared<B>>>, request: Request| {
            let operation = Arc::clone(&operation);
            async move { operation.handle(shared, request).await.into_response() }
        };
        router.route(path, on(filter, handler))
    }

    /// Checks the scope, collects what the handler needs, and runs it.
    async fn handle(&self, shared: Arc<Shared<B>>, request: Request) -> Answer {
        let (mut head, body) = request.into_parts();
        let extensions = &mut head.extensions;
        let (Some(caller), Some(deed)) = (
            extensions.remove::<Caller>(),
            extensions.get::<Arc<Deed>>().cloned(),
        ) else {
            // Nobody has looked who asks: then nobody is let in.
            return Err(Refusal::Unavailable("nobody is known here".to_owned()));
        };
        let _ = deed.operation.set(self.id);
        self.admit(&caller)?;
        let path = RawPathParams::from_request_parts(&mut head, &()).await;
        let Ok(path) = path else {
            return Ok(problem(StatusCode::NOT_FOUND, "the path is not UTF-8"));
        };
        let path = path
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let path = path.collect();
        // It is here already, and not longer: the guard has seen to it.
        let body = axum::body::to_bytes(body, BODY_BYTES_MAX).await;
        let body: Bytes = body.map_err(|error| Refusal::Malformed(error.to_string()))?;
        let ask = Ask {
            shared,
            caller,
            deed,
            uri: head.uri,
            path,
            body,
        };
        (self.run)(ask).await
    }

    fn admit(&self, caller: &Caller) -> Result<(), Refusal> {
        let is_told = self.method == Method::GET;
        let is_admitted = match &caller.scope {
            Scope::Server => true,
            Scope::ReadOnly => is_told,
            Scope::Domains(_) => self.reach != Reach::Server,
        };
        if is_admitted {
            return Ok(());
        }
        let needed = match self.reach {
            Reach::Domain => "the scope server or domain",
            _ if is_told => "the scope server or read-only",
            _ => "the scope server",
        };
        Err(forbidden(caller, needed))
    }
}

// === impl Shape ===

impl Shape {
    pub(super) fn of<T: ToSchema>() -> Self {
        let name = T::name().into_owned();
        let mut schemas = vec![(name.clone(), T::schema())];
        T::schemas(&mut schemas);
        Self { name, schemas }
    }
}

/// An answer that tells something.
pub(super) fn told<T: Serialize>(answer: &T) -> Answer {
    Ok(axum::Json(answer).into_response())
}

/// An answer that says no more than that it is done.
pub(super) fn done() -> Answer {
    Ok(StatusCode::NO_CONTENT.into_response())
}
