//! Every route, once: method, path, scope, what it says of itself, and what handles it. The router, the
//! check of scopes and the OpenAPI document are made of this.

use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use baton_deploy::admission::Maintenance;
use baton_deploy::control::{Check, Event};
use baton_deploy::outcome::Outcome;
use baton_deploy::progress::Progress;
use baton_deploy::request::{DeployRequest, RollbackRequest, Steer, SwitchRequest};
use baton_deploy::status::Status;
use baton_deploy::token::{NewToken, Scope, TokenInfo};
use baton_engine::{LogLine, WantedImage};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;

use super::{Api, apps, deploys, images, live, look, openapi, page, tokens, upgrade};
use crate::wire::{
    AfterQuery, CreatedToken, DaemonInfo, Done, EventsQuery, FetchLine, FetchReport, Loaded,
    LogsQuery, Me, ObserveQuery, OneApp, OneAppQuery, Receipts, ReceiptsQuery, Releases, Tokens,
    Traffics, UpgradeAccepted, UpgradeRequest,
};

/// Makes the schema of a type.
pub(super) type Shape = fn(&mut SchemaGenerator) -> Schema;

/// Who may call over TCP. On the control socket everybody who may open it may call everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// The files of the page, which hold nothing: it asks for a token itself.
    Open,
    /// A token of this scope, or a wider one.
    Scope(Scope),
}

/// What a request carries.
#[derive(Debug, Clone, Copy)]
pub(super) enum Takes {
    Nothing,
    Json(Shape),
    /// A media type.
    Bytes(&'static str),
}

/// What is answered when all is well.
#[derive(Debug, Clone, Copy)]
pub(super) enum Gives {
    Json(Shape),
    /// JSON lines, each of this shape.
    Lines(Shape),
    /// A media type.
    Bytes(&'static str),
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) method: MethodFilter,
    pub(super) path: &'static str,
    pub(super) access: Access,
    pub(super) summary: &'static str,
    pub(super) query: Option<Shape>,
    pub(super) takes: Takes,
    pub(super) gives: Gives,
    pub(super) handler: MethodRouter<Api>,
}

impl Entry {
    fn new<H, T>(
        (method, path): (MethodFilter, &'static str),
        access: Access,
        summary: &'static str,
        handler: H,
    ) -> Entry
    where
        H: Handler<T, Api>,
        T: 'static,
    {
        Entry {
            method,
            path,
            access,
            summary,
            query: None,
            takes: Takes::Nothing,
            gives: Gives::Json(shape::<Done>),
            handler: on(method, handler),
        }
    }

    fn query<T: JsonSchema>(self) -> Entry {
        Entry {
            query: Some(shape::<T>),
            ..self
        }
    }

    fn takes<T: JsonSchema>(self) -> Entry {
        Entry {
            takes: Takes::Json(shape::<T>),
            ..self
        }
    }

    fn takes_bytes(self, media_type: &'static str) -> Entry {
        Entry {
            takes: Takes::Bytes(media_type),
            ..self
        }
    }

    fn gives<T: JsonSchema>(self) -> Entry {
        Entry {
            gives: Gives::Json(shape::<T>),
            ..self
        }
    }

    fn lines<T: JsonSchema>(self) -> Entry {
        Entry {
            gives: Gives::Lines(shape::<T>),
            ..self
        }
    }

    fn bytes(self, media_type: &'static str) -> Entry {
        Entry {
            gives: Gives::Bytes(media_type),
            ..self
        }
    }

    /// `GET`, `POST`, `PUT` or `DELETE`.
    pub(super) fn verb(&self) -> &'static str {
        match self.method {
            MethodFilter::POST => "POST",
            MethodFilter::PUT => "PUT",
            MethodFilter::DELETE => "DELETE",
            _ => "GET",
        }
    }
}

fn shape<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn get(path: &'static str) -> (MethodFilter, &'static str) {
    (MethodFilter::GET, path)
}

fn post(path: &'static str) -> (MethodFilter, &'static str) {
    (MethodFilter::POST, path)
}

/// All of them.
pub(super) fn entries() -> Vec<Entry> {
    let mut all = looking();
    all.extend(deploying());
    all.extend(steering());
    all.extend(administering());
    all.extend(pages());
    all
}

fn looking() -> Vec<Entry> {
    let read = Access::Scope(Scope::Read);
    vec![
        Entry::new(
            get("/v1/status"),
            read,
            "What is live, and what goes on",
            look::status,
        )
        .gives::<Status>(),
        Entry::new(get("/v1/daemon"), read, "Who answers", look::daemon).gives::<DaemonInfo>(),
        Entry::new(get("/v1/me"), read, "What this token allows", tokens::me).gives::<Me>(),
        Entry::new(
            get("/v1/app"),
            read,
            "Which app a name means, or no name",
            look::app,
        )
        .query::<OneAppQuery>()
        .gives::<OneApp>(),
        Entry::new(
            get("/v1/apps/{app}/releases"),
            read,
            "Releases, newest first",
            look::releases,
        )
        .gives::<Releases>(),
        Entry::new(
            get("/v1/apps/{app}/receipts"),
            read,
            "Receipts, newest first",
            look::receipts,
        )
        .query::<ReceiptsQuery>()
        .gives::<Receipts>(),
        Entry::new(
            get("/v1/apps/{app}/logs"),
            read,
            "What an app writes",
            look::logs,
        )
        .query::<LogsQuery>()
        .lines::<LogLine>(),
        Entry::new(
            get("/v1/apps/{app}/observe"),
            read,
            "Watches a stream path during one deploy; the verdict comes last",
            look::observe,
        )
        .query::<ObserveQuery>()
        .lines::<Value>(),
        Entry::new(get("/v1/events"), read, "What happened", look::events)
            .query::<EventsQuery>()
            .lines::<Event>(),
        Entry::new(
            get("/v1/traffic"),
            read,
            "Requests, errors, latency and streams of the last minutes",
            live::traffic,
        )
        .query::<AfterQuery>()
        .gives::<Traffics>(),
        Entry::new(
            get("/v1/live"),
            read,
            "Server-sent events `status`, `traffic` and `event`, as they come",
            live::live,
        )
        .query::<AfterQuery>()
        .bytes(live::EVENT_STREAM),
        Entry::new(
            get("/v1/deploys/{id}/progress"),
            read,
            "A deploy from its beginning, then what comes",
            deploys::progress,
        )
        .lines::<Progress>(),
        Entry::new(get("/openapi.json"), read, "This document", openapi::serve).gives::<Value>(),
    ]
}

fn deploying() -> Vec<Entry> {
    let deploy = Access::Scope(Scope::Deploy);
    vec![
        Entry::new(
            post("/v1/deploys"),
            deploy,
            "Deploys, stages or promotes; answers with the progress",
            deploys::deploy,
        )
        .takes::<DeployRequest>()
        .lines::<Progress>(),
        Entry::new(
            (MethodFilter::PUT, "/v1/deploys/{id}/images"),
            deploy,
            "The images of a deploy that waits for them in its step fetch",
            deploys::images,
        )
        .takes::<FetchReport>(),
        Entry::new(
            post("/v1/check"),
            deploy,
            "What a deploy would do; nothing is run",
            look::check,
        )
        .takes::<DeployRequest>()
        .gives::<Check>(),
        Entry::new(
            post("/v1/images/load"),
            deploy,
            "Gives an archive of `docker save` to the engine",
            images::load,
        )
        .takes_bytes("application/x-tar")
        .gives::<Loaded>(),
        Entry::new(
            post("/v1/images/fetch"),
            deploy,
            "Finds or pulls an image; credentials are for this call only",
            images::fetch,
        )
        .takes::<WantedImage>()
        .lines::<FetchLine>(),
    ]
}

fn steering() -> Vec<Entry> {
    let deploy = Access::Scope(Scope::Deploy);
    vec![
        Entry::new(
            post("/v1/apps/{app}/rollback"),
            deploy,
            "To a release that was live before; answers with the progress",
            apps::rollback,
        )
        .takes::<RollbackRequest>()
        .lines::<Progress>(),
        Entry::new(
            post("/v1/apps/{app}/promote"),
            deploy,
            "The staged release goes live as it was staged; answers with the progress",
            apps::promote,
        )
        .lines::<Progress>(),
        Entry::new(
            post("/v1/apps/{app}/switch"),
            deploy,
            "Traffic to the other color; answers with the progress",
            apps::switch,
        )
        .takes::<SwitchRequest>()
        .lines::<Progress>(),
        Entry::new(
            post("/v1/apps/{app}/canary"),
            deploy,
            "Steers a canary",
            apps::canary,
        )
        .takes::<Steer>(),
        Entry::new(
            post("/v1/apps/{app}/cancel"),
            deploy,
            "Stops the running deploy and undoes it",
            apps::cancel,
        )
        .gives::<Outcome>(),
        Entry::new(
            post("/v1/apps/{app}/pause"),
            deploy,
            "Holds new requests",
            apps::pause,
        ),
        Entry::new(
            post("/v1/apps/{app}/resume"),
            deploy,
            "Lets them go on",
            apps::resume,
        ),
        Entry::new(
            post("/v1/apps/{app}/maintenance"),
            deploy,
            "Answers every request with a page, or (null) no more",
            apps::maintenance,
        )
        .takes::<Option<Maintenance>>(),
    ]
}

fn administering() -> Vec<Entry> {
    let admin = Access::Scope(Scope::Admin);
    vec![
        Entry::new(
            (MethodFilter::DELETE, "/v1/apps/{app}"),
            admin,
            "Drains, stops and forgets an app",
            apps::remove,
        ),
        Entry::new(
            post("/v1/upgrade"),
            admin,
            "Puts another binary in the place of the daemon; on its machine only",
            upgrade::upgrade,
        )
        .takes::<UpgradeRequest>()
        .gives::<UpgradeAccepted>(),
        Entry::new(
            get("/v1/tokens"),
            admin,
            "Tokens, without the tokens themselves",
            tokens::list,
        )
        .gives::<Tokens>(),
        Entry::new(
            post("/v1/tokens"),
            admin,
            "Makes a token; it is in this answer and never shown again",
            tokens::create,
        )
        .takes::<NewToken>()
        .gives::<CreatedToken>(),
        Entry::new(
            (MethodFilter::DELETE, "/v1/tokens/{which}"),
            admin,
            "Revokes a token, by its name or number",
            tokens::revoke,
        )
        .gives::<TokenInfo>(),
    ]
}

fn pages() -> Vec<Entry> {
    let open = Access::Open;
    vec![
        Entry::new(get("/"), open, "The status page", page::index).bytes(page::HTML),
        Entry::new(get("/page.css"), open, "Its style", page::css).bytes(page::CSS),
        Entry::new(get("/page.js"), open, "Its script", page::script).bytes(page::JS),
        Entry::new(get("/words.js"), open, "Its words", page::words).bytes(page::JS),
        Entry::new(get("/charts.js"), open, "Its charts", page::charts).bytes(page::JS),
        Entry::new(get("/icon.svg"), open, "Its icon", page::icon).bytes(page::SVG),
    ]
}
