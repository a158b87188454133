mod captures;
mod support;
