mod broker_urls;
mod captures;
mod support;
