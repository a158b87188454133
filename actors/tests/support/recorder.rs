//! An actor that keeps what it is sent, or does not come to it.

use std::sync::{Arc, Mutex};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, WrapFuture};
use tokio::sync::Notify;

use super::lock;

/// What a [`Recorder`] has received.
pub(in crate::tests) struct Tape<M> {
    received: Arc<Mutex<Vec<M>>>,
    gate: Arc<Notify>,
}

impl<M> Clone for Tape<M> {
    fn clone(&self) -> Self {
        Self {
            received: self.received.clone(),
            gate: self.gate.clone(),
        }
    }
}

impl<M> Tape<M> {
    /// Everything since the last time this was asked.
    pub(in crate::tests) fn take(&self) -> Vec<M> {
        std::mem::take(&mut *lock(&self.received))
    }

    /// Lets a recorder that is held up come to its mailbox.
    pub(in crate::tests) fn open(&self) {
        self.gate.notify_one();
    }
}

pub(in crate::tests) struct Recorder<M> {
    tape: Tape<M>,
    held_up: bool,
    inspect: Box<dyn FnMut(&M)>,
}

impl<M: Message<Result = ()> + Send + Unpin + 'static> Recorder<M> {
    /// One that receives everything at once.
    pub(in crate::tests) fn start() -> (Addr<Self>, Tape<M>) {
        Self::make(false, usize::MAX >> 1, |_| {})
    }

    /// One that looks at everything when it comes.
    pub(in crate::tests) fn inspecting(inspect: impl FnMut(&M) + 'static) -> (Addr<Self>, Tape<M>) {
        Self::make(false, usize::MAX >> 1, inspect)
    }

    /// One that does not come to its mailbox, which holds `mailbox` messages, before [`Tape::open`].
    pub(in crate::tests) fn held_up(mailbox: usize) -> (Addr<Self>, Tape<M>) {
        Self::make(true, mailbox, |_| {})
    }

    fn make(held_up: bool, mailbox: usize, inspect: impl FnMut(&M) + 'static) -> (Addr<Self>, Tape<M>) {
        let tape = Tape {
            received: Arc::default(),
            gate: Arc::default(),
        };
        let recorder = Self {
            tape: tape.clone(),
            held_up,
            inspect: Box::new(inspect),
        };
        let addr = Self::create(|context| {
            context.set_mailbox_capacity(mailbox.min(1 << 20));
            recorder
        });
        (addr, tape)
    }
}

impl<M: Message<Result = ()> + Send + Unpin + 'static> Actor for Recorder<M> {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        if self.held_up {
            let gate = self.tape.gate.clone();
            context.wait(async move { gate.notified().await }.into_actor(self));
        }
    }
}

impl<M: Message<Result = ()> + Send + Unpin + 'static> Handler<M> for Recorder<M> {
    type Result = ();

    fn handle(&mut self, message: M, _: &mut Context<Self>) {
        (self.inspect)(&message);
        lock(&self.tape.received).push(message);
    }
}
