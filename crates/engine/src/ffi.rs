//! The C interface of `libchdb`, and the only unsafe code of the crate.
//!
//! The rest of the crate uses [`Library`], [`Connection`] and [`InsertStream`], which cannot be misused: a connection is
//! used by one thread at a time (`&mut self`), a stream borrows its connection, and every handle is freed exactly once.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr::NonNull;

use mpsync_core::error::{Error, Result};

use crate::exception::Exception;

type RawConnection = *mut c_void;
type RawResult = *mut c_void;
type RawInsert = *mut c_void;
/// A function of a statement, a format, and the names and values of parameters, each with its length.
type RunStatement<T> = unsafe extern "C" fn(
    RawConnection,
    *const c_char,
    usize,
    *const c_char,
    usize,
    *const *const c_char,
    *const usize,
    *const *const c_char,
    *const usize,
    usize,
) -> T;

/// The used functions of `libchdb`, resolved once. The library is never unloaded: its threads outlive any handle.
pub(crate) struct Library {
    connect: unsafe extern "C" fn(c_int, *mut *mut c_char) -> *mut RawConnection,
    close: unsafe extern "C" fn(*mut RawConnection),
    query: RunStatement<RawResult>,
    result_buffer: unsafe extern "C" fn(RawResult) -> *const c_char,
    result_length: unsafe extern "C" fn(RawResult) -> usize,
    result_error: unsafe extern "C" fn(RawResult) -> *const c_char,
    result_rows_read: unsafe extern "C" fn(RawResult) -> u64,
    result_bytes_read: unsafe extern "C" fn(RawResult) -> u64,
    result_storage_rows_read: unsafe extern "C" fn(RawResult) -> u64,
    result_storage_bytes_read: unsafe extern "C" fn(RawResult) -> u64,
    result_rows_written: unsafe extern "C" fn(RawResult) -> u64,
    result_bytes_written: unsafe extern "C" fn(RawResult) -> u64,
    destroy_result: unsafe extern "C" fn(RawResult),
    insert: RunStatement<RawInsert>,
    insert_append: unsafe extern "C" fn(RawInsert, *const c_void, usize) -> c_int,
    insert_done: unsafe extern "C" fn(RawInsert) -> RawResult,
    insert_cancel: unsafe extern "C" fn(RawInsert),
    insert_error: unsafe extern "C" fn(RawInsert) -> *const c_char,
    destroy_insert: unsafe extern "C" fn(RawInsert),
    shutdown: unsafe extern "C" fn() -> c_int,
}

/// Resolves one symbol as a function pointer of the field's type.
macro_rules! symbol {
    ($library:expr, $name:literal) => {{
        // SAFETY: the type of the field that this is assigned to is the signature that `chdb.h` declares for this name in
        // the pinned release; the address stays valid because the library is never unloaded.
        let symbol = unsafe { $library.get($name) };
        *symbol.map_err(|e| Error::engine(format!("the library lacks a function: {e}")))?
    }};
}

impl Library {
    /// Loads the library and disables its signal handlers.
    pub(crate) fn load(path: &Path) -> Result<&'static Self> {
        // SAFETY: loading runs the library's initializers. They are ClickHouse's, made to be loaded into a foreign process;
        // the caller chose the file, like the program itself.
        let library = unsafe { libloading::Library::new(path) }.map_err(|e| {
            Error::engine(e.to_string()).context(format!("loading {}", path.display()))
        })?;
        // Leaked: the engine's threads run until the process ends.
        let library: &'static libloading::Library = Box::leak(Box::new(library));
        let set_signal_handlers: unsafe extern "C" fn(c_int) =
            symbol!(library, b"chdb_set_signal_handlers_enabled\0");
        // SAFETY: may be called at any time, and is called before the first connection.
        unsafe { set_signal_handlers(0) };
        Ok(Box::leak(Box::new(Self {
            connect: symbol!(library, b"chdb_connect\0"),
            close: symbol!(library, b"chdb_close_conn\0"),
            query: symbol!(library, b"chdb_query_with_params_n\0"),
            result_buffer: symbol!(library, b"chdb_result_buffer\0"),
            result_length: symbol!(library, b"chdb_result_length\0"),
            result_error: symbol!(library, b"chdb_result_error\0"),
            result_rows_read: symbol!(library, b"chdb_result_rows_read\0"),
            result_bytes_read: symbol!(library, b"chdb_result_bytes_read\0"),
            result_storage_rows_read: symbol!(library, b"chdb_result_storage_rows_read\0"),
            result_storage_bytes_read: symbol!(library, b"chdb_result_storage_bytes_read\0"),
            result_rows_written: symbol!(library, b"chdb_result_rows_written\0"),
            result_bytes_written: symbol!(library, b"chdb_result_bytes_written\0"),
            destroy_result: symbol!(library, b"chdb_destroy_query_result\0"),
            insert: symbol!(library, b"chdb_stream_insert_with_params_n\0"),
            insert_append: symbol!(library, b"chdb_stream_append\0"),
            insert_done: symbol!(library, b"chdb_stream_done\0"),
            insert_cancel: symbol!(library, b"chdb_stream_cancel_insert\0"),
            insert_error: symbol!(library, b"chdb_stream_insert_error\0"),
            destroy_insert: symbol!(library, b"chdb_destroy_insert_stream\0"),
            shutdown: symbol!(library, b"chdb_shutdown\0"),
        })))
    }

    /// Opens a connection. The first of a process starts the engine on the data path in the arguments. Returns `None` if
    /// the engine refuses, which it explains on stderr only.
    pub(crate) fn connect(&'static self, arguments: &[CString]) -> Option<Connection> {
        let mut pointers: Vec<*mut c_char> =
            arguments.iter().map(|a| a.as_ptr().cast_mut()).collect();
        let count = c_int::try_from(pointers.len()).ok()?;
        // SAFETY: there are `count` pointers to NUL-terminated strings that outlive the call; the engine copies them and
        // does not write to them.
        let handle = unsafe { (self.connect)(count, pointers.as_mut_ptr()) };
        let handle = NonNull::new(handle)?;
        // SAFETY: a non-null answer points to a valid cell that contains the connection until it is closed.
        let connected = unsafe { !handle.as_ref().is_null() };
        connected.then_some(Connection {
            library: self,
            handle,
        })
    }

    /// Shuts the engine down: stops merges and joins threads. Refused (false) while a connection is open. The engine
    /// cannot be started again in this process.
    pub(crate) fn shutdown(&self) -> bool {
        // SAFETY: takes no arguments, is serialized by the library against `connect`, and refuses while handles are open.
        unsafe { (self.shutdown)() == 0 }
    }
}

/// The answer to a statement.
pub(crate) struct StatementAnswer {
    /// The result in the requested format.
    pub(crate) body: Vec<u8>,
    /// The rows and bytes read and written.
    pub(crate) counts: StatementCounts,
}

/// The rows and bytes that a statement read and wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StatementCounts {
    pub(crate) rows_read: u64,
    pub(crate) bytes_read: u64,
    pub(crate) result_rows: u64,
    pub(crate) result_bytes: u64,
    pub(crate) rows_written: u64,
    pub(crate) bytes_written: u64,
}

/// A connection, with its own settings, current database and temporary tables.
pub(crate) struct Connection {
    library: &'static Library,
    handle: NonNull<RawConnection>,
}

// SAFETY: the engine ties a connection to no thread: every call takes the connection's own lock and sets up its thread's state
// for the duration of the call. `&mut self` on every method keeps it to one thread at a time.
unsafe impl Send for Connection {}

/// Names and values of query parameters in the layout that the C functions take.
struct Parameters {
    names: Vec<*const c_char>,
    name_lengths: Vec<usize>,
    values: Vec<*const c_char>,
    value_lengths: Vec<usize>,
}

impl Parameters {
    /// Points into `pairs`, which the result must not outlive: its only caller keeps both in one function.
    fn new(pairs: &[(String, String)]) -> Self {
        Self {
            names: pairs.iter().map(|(name, _)| name.as_ptr().cast()).collect(),
            name_lengths: pairs.iter().map(|(name, _)| name.len()).collect(),
            values: pairs
                .iter()
                .map(|(_, value)| value.as_ptr().cast())
                .collect(),
            value_lengths: pairs.iter().map(|(_, value)| value.len()).collect(),
        }
    }
}

impl Connection {
    fn raw(&self) -> RawConnection {
        // SAFETY: the cell is valid until `close`, which only `Drop` calls.
        unsafe { *self.handle.as_ref() }
    }

    /// Calls one of the library's functions of this signature.
    fn call<T>(
        &mut self,
        function: RunStatement<T>,
        sql: &[u8],
        format: &str,
        parameters: &[(String, String)],
    ) -> T {
        let p = Parameters::new(parameters);
        // SAFETY: function and connection belong to the same library. Every pointer is passed with the length of its
        // target, all targets live until the call returns, and the engine copies them. The arrays have `parameters.len()`
        // entries each.
        unsafe {
            function(
                self.raw(),
                sql.as_ptr().cast(),
                sql.len(),
                format.as_ptr().cast(),
                format.len(),
                p.names.as_ptr(),
                p.name_lengths.as_ptr(),
                p.values.as_ptr(),
                p.value_lengths.as_ptr(),
                parameters.len(),
            )
        }
    }

    /// Runs a statement to its end. Blocks the thread.
    pub(crate) fn query(
        &mut self,
        sql: &[u8],
        format: &str,
        parameters: &[(String, String)],
    ) -> Result<StatementAnswer, Exception> {
        let result = self.call(self.library.query, sql, format, parameters);
        QueryResult::new(self.library, result)?.into_answer()
    }

    /// Opens an insert of rows in `format`. `sql` names table and columns, without FORMAT or VALUES.
    pub(crate) fn insert(
        &mut self,
        sql: &[u8],
        format: &str,
        parameters: &[(String, String)],
    ) -> Result<InsertStream<'_>, Exception> {
        let handle = self.call(self.library.insert, sql, format, parameters);
        // Never null by contract, but checked.
        if handle.is_null() {
            return Err(Exception::internal("the engine opened no insert"));
        }
        let stream = InsertStream {
            connection: self,
            handle,
            finished: false,
        };
        // Checked through the stream, so that a failed one is destroyed on return.
        match stream.error() {
            Some(exception) => Err(exception),
            None => Ok(stream),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: the handle came from `connect` and is closed here only; no stream borrows it any more.
        unsafe { (self.library.close)(self.handle.as_ptr()) };
    }
}

/// A result handle, freed when dropped.
struct QueryResult {
    library: &'static Library,
    handle: NonNull<c_void>,
}

impl QueryResult {
    fn new(library: &'static Library, handle: RawResult) -> Result<Self, Exception> {
        let handle = NonNull::new(handle)
            .ok_or_else(|| Exception::internal("the engine returned no result"))?;
        Ok(Self { library, handle })
    }

    fn into_answer(self) -> Result<StatementAnswer, Exception> {
        let (library, handle) = (self.library, self.handle.as_ptr());
        // SAFETY: the handle is valid until `Drop`; the error, if any, is a NUL-terminated string that it owns.
        if let Some(text) = unsafe { owned_text((library.result_error)(handle)) } {
            return Err(Exception::parse(&text));
        }
        // SAFETY: the handle is valid; these read fields of it. Buffer and length belong together, and the bytes are copied
        // before the handle is freed.
        unsafe {
            let (buffer, length) = (
                (library.result_buffer)(handle),
                (library.result_length)(handle),
            );
            let body = if buffer.is_null() || length == 0 {
                Vec::new()
            } else {
                std::slice::from_raw_parts(buffer.cast::<u8>(), length).to_vec()
            };
            Ok(StatementAnswer {
                body,
                counts: StatementCounts {
                    rows_read: (library.result_storage_rows_read)(handle),
                    bytes_read: (library.result_storage_bytes_read)(handle),
                    result_rows: (library.result_rows_read)(handle),
                    result_bytes: (library.result_bytes_read)(handle),
                    rows_written: (library.result_rows_written)(handle),
                    bytes_written: (library.result_bytes_written)(handle),
                },
            })
        }
    }
}

impl Drop for QueryResult {
    fn drop(&mut self) {
        // SAFETY: the handle came from a query or a finished insert and is freed here only.
        unsafe { (self.library.destroy_result)(self.handle.as_ptr()) };
    }
}

/// An open insert. Dropped before [`InsertStream::finish`], it is cancelled.
pub(crate) struct InsertStream<'a> {
    connection: &'a mut Connection,
    handle: RawInsert,
    finished: bool,
}

impl InsertStream<'_> {
    fn error(&self) -> Option<Exception> {
        // SAFETY: the handle is valid until `Drop`; the text is owned by it and copied here.
        unsafe { owned_text((self.connection.library.insert_error)(self.handle)) }
            .map(|text| Exception::parse(&text))
    }

    /// Appends bytes, split anywhere. Blocks while the engine is behind.
    pub(crate) fn append(&mut self, data: &[u8]) -> Result<(), Exception> {
        // SAFETY: pointer and length belong together, and the engine copies before it returns.
        let state = unsafe {
            (self.connection.library.insert_append)(self.handle, data.as_ptr().cast(), data.len())
        };
        if state == 0 {
            return Ok(());
        }
        // The call only reports that it failed; if the stream has no cause yet, finishing it returns the cause.
        Err(match self.error() {
            Some(exception) => exception,
            None => match self.end() {
                Err(exception) => exception,
                Ok(_) => Exception::internal("the engine refused data without giving a cause"),
            },
        })
    }

    /// Ends the insert. When it returns counts, the rows are in the table.
    pub(crate) fn finish(mut self) -> Result<StatementCounts, Exception> {
        self.end()
    }

    fn end(&mut self) -> Result<StatementCounts, Exception> {
        self.finished = true;
        // SAFETY: called at most once a stream (`finished`), and the stream is freed by `Drop` after it.
        let result = unsafe { (self.connection.library.insert_done)(self.handle) };
        Ok(QueryResult::new(self.connection.library, result)?
            .into_answer()?
            .counts)
    }
}

impl Drop for InsertStream<'_> {
    fn drop(&mut self) {
        // SAFETY: the handle is valid; cancelling a finished stream is skipped, and freeing happens here only.
        unsafe {
            if !self.finished {
                (self.connection.library.insert_cancel)(self.handle);
            }
            (self.connection.library.destroy_insert)(self.handle);
        }
    }
}

/// Ends the process at once, without the library's destructors, which would race its running threads.
pub(crate) fn end_process(code: i32) -> ! {
    unsafe extern "C" {
        fn _exit(code: c_int) -> !;
    }
    // SAFETY: POSIX's `_exit` accepts any code, may be called at any time and does not return.
    unsafe { _exit(code) }
}

/// Copies a C string; `None` for null and for the empty string.
///
/// # Safety
/// `text` is null or points to a NUL-terminated string that lives until this returns.
unsafe fn owned_text(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: not null; the caller guarantees the rest.
    let text = unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned();
    (!text.is_empty()).then_some(text)
}
