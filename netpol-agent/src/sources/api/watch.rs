//! The watch of one kind: lists once, then follows, and goes on after whatever happens.

use std::{
    convert::Infallible,
    pin::pin,
    time::{Duration, Instant},
};

use futures::AsyncReadExt as _;
use kube::Client;
use netpol_policy::{
    model::{Key, Kind},
    read::{Document, Read, read_object},
};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tracing::debug;

use super::{
    answer::{Line, Page, Unreadable, ask, key, version},
    failure::Failure,
    form::{Event, Form},
    pause::{Pause, before_a_list},
    served::{LASTS_AT_LEAST, page_of, watch_of},
    shared::Shared,
};

/// How long the server may take to begin an answer, and to send a page of a list. It lets questions wait when it is busy.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a watch may be silent: the server says each minute how far it has got. One that hangs, while its machine keeps the
/// connection, is found out by this; one that is away by the kernel (see `connect`).
const SILENCE: Duration = Duration::from_secs(100);
/// How long a streamed list may be silent, before it is taken for that of a server that does not know how to stream and
/// never says that it is whole.
const LIST_SILENCE: Duration = Duration::from_secs(10);
/// A server that kept a watch for so long was well.
const GOOD: Duration = Duration::from_secs(10);

/// What is heard of one kind.
#[derive(Debug)]
pub(super) enum Heard {
    /// A list begins.
    Listing,
    /// An object of the list, or one that has changed since.
    There(Box<Read>, Stamp),
    /// An object is gone.
    Gone(Key, Stamp),
    /// The list is whole: what was there before and is not in it is gone.
    Listed,
    /// The watch goes on where it ended.
    Following,
    /// Nothing can be heard, for this reason; what was heard last stays.
    Cut(Failure),
}

/// What is noted of each object that is heard of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    /// Its version, or that at which it went. Those of a server count up; 0 stands for one that is no number.
    pub(super) version: u64,
    /// When its last byte was read from the wire, before anything was made of it.
    pub(super) read: Instant,
}

impl Stamp {
    fn new(object: &Document<'_>, read: Instant) -> Self {
        Self { version: version(object).and_then(|version| version.parse().ok()).unwrap_or(0), read }
    }
}

/// Why a watch or a list has ended.
enum End {
    /// Nobody listens any more.
    Unheard,
    /// All is listed, and can be followed now.
    Listed,
    /// A watch has ended as every one does; it goes on from the version that it has reached.
    Over,
    /// A watch has ended otherwise; it goes on, too. Whether the server is well shows then.
    Broken,
    /// The server does not remember the version any more.
    Forgotten,
    /// The server does not stream lists.
    Unstreamed,
    /// It could not begin, or a list broke in the middle.
    Failed(Failure),
}

/// An error is how it ended.
type Going<T = ()> = Result<T, End>;

/// The watch of one kind.
pub(super) struct Watch {
    client: Client,
    kind: Kind,
    selector: Option<String>,
    to: mpsc::Sender<(Kind, Heard)>,
    /// Whether the server may stream lists.
    streams: bool,
    /// How far it has got; `None` before everything is listed.
    version: Option<String>,
    shared: Shared,
    /// Nothing was heard since a watch has ended in silence. A server that was put back to an older state says nothing of
    /// what happens before it has got to our version again.
    deaf: bool,
}

impl Watch {
    /// A watch of all objects of a kind, or of those that a selector of fields leaves.
    pub(super) fn new(
        client: Client,
        kind: Kind,
        selector: Option<String>,
        to: mpsc::Sender<(Kind, Heard)>,
    ) -> Self {
        Self {
            client,
            kind,
            selector,
            to,
            streams: true,
            version: None,
            shared: Shared::default(),
            deaf: false,
        }
    }

    /// Watches until nobody listens any more.
    pub(super) async fn run(mut self) {
        let mut pause = Pause::default();
        loop {
            let began = Instant::now();
            let ended = if self.version.is_none() && !self.streams {
                self.list_by_pages().await
            } else {
                self.watch().await
            };
            let lasted = began.elapsed();
            if lasted >= GOOD {
                pause = Pause::default();
            }
            let wait = match ended {
                End::Unheard => return,
                End::Listed => Duration::ZERO,
                // A server that goes down tells many agents so in one moment.
                End::Over if lasted >= LASTS_AT_LEAST => Duration::ZERO,
                End::Over | End::Broken => pause.next(),
                End::Forgotten => {
                    debug!(kind = self.kind.name(), version = ?self.version, "the API server has forgotten");
                    self.version = None;
                    before_a_list()
                }
                End::Unstreamed => {
                    debug!(kind = self.kind.name(), "the API server streams no lists");
                    self.streams = false;
                    Duration::ZERO
                }
                End::Failed(failure) => {
                    let wait = pause.next().max(failure.wish);
                    if self.tell(Heard::Cut(failure)).await.is_err() {
                        return;
                    }
                    wait
                }
            };
            sleep(wait).await;
        }
    }

    /// Follows from where it ended, or lists and follows in one stream.
    async fn watch(&mut self) -> End {
        match self.listen().await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn listen(&mut self) -> Going<Infallible> {
        let mut listing = self.version.is_none();
        let question = watch_of(self.kind, self.selector.as_deref(), self.version.as_deref());
        let question = question.map_err(|error| End::Failed(Failure::caused(&error)))?;
        let opened = timeout(ANSWER, ask(&self.client, question)).await;
        let (form, events) = match opened {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(self.refused(&error)),
            Err(_) => return Err(unanswered()),
        };
        let mut events = pin!(events);
        self.tell(if listing { Heard::Listing } else { Heard::Following }).await?;
        let mut event = Vec::new();
        loop {
            let silence = if listing { LIST_SILENCE } else { SILENCE };
            match timeout(silence, form.read_event(&mut events, &mut event)).await {
                Ok(Ok(Event::Whole)) => {}
                Ok(Ok(Event::TooLong(bytes))) => {
                    let why = format!("an event of {bytes} bytes is longer than any that is taken");
                    return Err(self.unreadable(&Unreadable::new(why)));
                }
                Ok(Ok(_)) if listing => {
                    return Err(End::Failed(Failure::unanswered("the list ended in the middle")));
                }
                Ok(Err(error)) if listing => return Err(End::Failed(Failure::caused(&error))),
                Err(_) if listing => return Err(End::Unstreamed),
                Ok(Ok(Event::None)) => return Err(End::Over),
                Err(_) if std::mem::replace(&mut self.deaf, true) => return Err(End::Forgotten),
                Ok(Ok(_) | Err(_)) | Err(_) => return Err(End::Broken),
            }
            self.deaf = false;
            let read = Instant::now();
            match Line::read(self.kind, form, &event) {
                Ok(Line::There(object)) => {
                    // Of a list that is under way, versions say nothing: it comes in the order of names.
                    if !listing {
                        self.version = version(&object).or_else(|| self.version.take());
                    }
                    self.there(&object, read).await?;
                }
                Ok(Line::Gone(object)) => {
                    if !listing {
                        self.version = version(&object).or_else(|| self.version.take());
                    }
                    self.tell(Heard::Gone(key(&object), Stamp::new(&object, read))).await?;
                }
                Ok(Line::Listed(version)) if listing => {
                    listing = false;
                    self.version = Some(version);
                    self.tell(Heard::Listed).await?;
                }
                // The end of a list that was never begun is no more than how far the server has got.
                Ok(Line::UpTo(version) | Line::Listed(version)) => {
                    if !listing {
                        self.version = Some(version);
                    }
                }
                Ok(Line::Error(410, _)) => return Err(End::Forgotten),
                Ok(Line::Error(code, message)) => {
                    return Err(End::Failed(Failure::said(self.kind, code, &message)));
                }
                Err(error) => return Err(self.unreadable(&error)),
            }
        }
    }

    /// Lists page by page: on servers that do not stream.
    async fn list_by_pages(&mut self) -> End {
        match self.pages().await {
            Ok(()) => End::Listed,
            Err(end) => end,
        }
    }

    async fn pages(&mut self) -> Going {
        let mut rest = None;
        self.tell(Heard::Listing).await?;
        loop {
            let (form, text) = self.page(rest.as_deref()).await?;
            let read = Instant::now();
            let page = Page::read(self.kind, form, &text).map_err(|error| self.unreadable(&error))?;
            rest = page.rest;
            for object in page.objects {
                self.there(&object, read).await?;
            }
            if rest.is_none() {
                self.version = Some(page.version);
                return self.tell(Heard::Listed).await;
            }
        }
    }

    async fn page(&self, from: Option<&str>) -> Going<(Form, Vec<u8>)> {
        let question = page_of(self.kind, self.selector.as_deref(), from);
        let question = question.map_err(|error| End::Failed(Failure::caused(&error)))?;
        let mut text = Vec::new();
        let read = async {
            let (form, body) = ask(&self.client, question).await.map_err(|error| self.refused(&error))?;
            let read = pin!(body).read_to_end(&mut text).await;
            read.map_err(|error| End::Failed(Failure::caused(&error)))?;
            Ok(form)
        };
        let form = timeout(ANSWER, read).await.unwrap_or_else(|_| Err(unanswered()))?;
        Ok((form, text))
    }

    fn refused(&self, error: &kube::Error) -> End {
        match error {
            kube::Error::Api(status) if status.code == 410 => End::Forgotten,
            // What it does not know it calls invalid.
            kube::Error::Api(status)
                if matches!(status.code, 400 | 422) && self.streams && self.version.is_none() =>
            {
                End::Unstreamed
            }
            // Nor does it know our version then.
            kube::Error::Api(status) if matches!(status.code, 400 | 422) && self.version.is_some() => {
                End::Forgotten
            }
            _ => End::Failed(Failure::of(self.kind, error)),
        }
    }

    /// What was said is lost, so that everything is to be listed anew.
    fn unreadable(&mut self, error: &Unreadable) -> End {
        self.version = None;
        End::Failed(Failure::unanswered(format!("the API server's answer cannot be read: {error}")))
    }

    async fn there(&mut self, object: &Document<'_>, read: Instant) -> Going {
        let stamp = Stamp::new(object, read);
        let mut object = Box::new(read_object(self.kind, object));
        if let Read::Object { object, .. } = &mut *object {
            self.shared.share(object);
        }
        self.tell(Heard::There(object, stamp)).await
    }

    async fn tell(&self, heard: Heard) -> Going {
        self.to.send((self.kind, heard)).await.map_err(|_| End::Unheard)
    }
}

fn unanswered() -> End {
    End::Failed(Failure::unanswered(format!("the API server has not answered for {} s", ANSWER.as_secs())))
}
