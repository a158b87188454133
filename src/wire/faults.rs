//! Fault points: in an ordinary build they hold nothing and do nothing; in a build for tests an actor can be made to panic.

use actix::{Addr, ArbiterHandle, Supervised};
use headcount_actors::supervise::{Post, Supervision};

#[cfg(not(feature = "fault-points"))]
pub(super) use none::{Faults, Provoked};
#[cfg(feature = "fault-points")]
pub(super) use points::{Faults, Provoked};

impl Faults {
    /// Starts a supervised actor, of which the last of its kind can be reached here.
    pub(super) fn start<A: Provoked + Supervised>(
        &self,
        supervision: &Supervision,
        arbiter: &ArbiterHandle,
        post: Post,
        make: impl FnOnce() -> A + Send + 'static,
    ) -> Addr<A> {
        let kind = post.kind;
        let addr = supervision.start(arbiter, post, make);
        self.add(kind, &addr);
        addr
    }
}

#[cfg(not(feature = "fault-points"))]
mod none {
    use actix::{Actor, Addr, Context};

    /// An actor that nobody makes panic.
    pub(in crate::wire) trait Provoked: Actor<Context = Context<Self>> {}
    impl<A: Actor<Context = Context<A>>> Provoked for A {}

    #[derive(Clone, Default)]
    pub(in crate::wire) struct Faults {}

    impl Faults {
        pub(super) fn add<A: Provoked>(&self, _kind: &'static str, _addr: &Addr<A>) {}
    }
}

#[cfg(feature = "fault-points")]
mod points {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex, PoisonError};

    use actix::{Actor, Addr, Context, Handler, Recipient};
    use headcount_actors::messages::Provoke;
    use headcount_edge::http;

    /// An actor that can be made to panic.
    pub(in crate::wire) trait Provoked: Actor<Context = Context<Self>> + Handler<Provoke> {}
    impl<A: Actor<Context = Context<A>> + Handler<Provoke>> Provoked for A {}

    /// Where each kind of actor can be reached; the last one of a kind.
    #[derive(Clone, Default)]
    pub(in crate::wire) struct Faults(Arc<Mutex<BTreeMap<&'static str, Recipient<Provoke>>>>);

    impl Faults {
        pub(super) fn add<A: Provoked>(&self, kind: &'static str, addr: &Addr<A>) {
            let mut points = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            points.insert(kind, addr.clone().recipient());
        }

        /// Makes the named actor panic; false if there is none of that name.
        pub(in crate::wire) fn provoker(&self) -> http::Provoke {
            let points = self.0.clone();
            Arc::new(move |kind: &str| {
                let points = points.lock().unwrap_or_else(PoisonError::into_inner);
                points.get(kind).is_some_and(|point| point.try_send(Provoke).is_ok())
            })
        }
    }
}
