//! Fault points: in an ordinary build they hold nothing and do nothing; in a build for tests an actor can be made to panic.

#[cfg(not(feature = "fault-points"))]
pub(super) use none::Faults;
#[cfg(feature = "fault-points")]
pub(super) use points::Faults;

#[cfg(not(feature = "fault-points"))]
mod none {
    use actix::{Actor, Addr};

    #[derive(Clone, Default)]
    pub(in crate::wire) struct Faults {}

    impl Faults {
        pub(in crate::wire) fn add<A: Actor>(&self, _kind: &'static str, _addr: &Addr<A>) {}
    }
}

#[cfg(feature = "fault-points")]
mod points {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex, PoisonError};

    use actix::{Actor, Addr, Context, Handler, Recipient};
    use headcount_actors::messages::Provoke;
    use headcount_edge::http;

    /// Where each kind of actor can be reached; the last one of a kind.
    #[derive(Clone, Default)]
    pub(in crate::wire) struct Faults(Arc<Mutex<BTreeMap<&'static str, Recipient<Provoke>>>>);

    impl Faults {
        pub(in crate::wire) fn add<A>(&self, kind: &'static str, addr: &Addr<A>)
        where
            A: Actor<Context = Context<A>> + Handler<Provoke>,
        {
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
