//! Sessions in the memory of one process, as in a servlet container.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::routes::{Body, text};

#[derive(Debug, Default)]
pub(super) struct Sessions {
    users: RefCell<HashMap<String, String>>,
}

impl Sessions {
    /// Sets `JSESSIONID`.
    pub(super) fn login(&self, user: &str) -> Response<Body> {
        // Two random seeds of the standard library: nobody guesses it in a test.
        let half = || RandomState::new().hash_one(user);
        let id = format!("{:016X}{:016X}", half(), half());
        self.users.borrow_mut().insert(id.clone(), user.to_owned());
        let mut response = text(StatusCode::OK, format!("{user}\n"));
        let cookie = format!("JSESSIONID={id}; Path=/; HttpOnly");
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            response.headers_mut().insert("set-cookie", cookie);
        }
        response
    }

    /// 200 with the user, 401 where the session is not known.
    pub(super) fn me(&self, request: &Request<Incoming>) -> Response<Body> {
        let cookies = request.headers().get_all("cookie");
        let user = cookies
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().strip_prefix("JSESSIONID="))
            .find_map(|id| self.users.borrow().get(id).cloned());
        match user {
            Some(user) => text(StatusCode::OK, format!("{user}\n")),
            None => text(StatusCode::UNAUTHORIZED, "who are you?\n"),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.users.borrow().len()
    }
}
