//! Confinement of the engine's process by the kernel, before the library is loaded.
//!
//! A list of words cannot hold a database that reads files in a hundred ways. So the process gives up what it does not
//! need: Landlock leaves it the library, the system's libraries, the zone files, `/proc/self` and the named folders to
//! read, and the data folder to write; programs cannot be executed, and the process can gain no privileges. The statement
//! policy is the second wall.

use std::path::{Path, PathBuf};

use mpsync_core::error::{Error, Result};

/// The files and the port that a confined engine may use.
#[derive(Debug, Clone)]
pub struct Confinement {
    /// The data folder: to read and to write. Created if it does not exist.
    pub data_dir: PathBuf,
    /// Files and folders to read, beside the system's.
    pub readable: Vec<PathBuf>,
    /// The port to listen on; 0 for a free one.
    pub port: u16,
}

impl Confinement {
    /// Confines the calling thread, and all threads and processes that it starts from now on. There is no way back.
    ///
    /// For the start of a process, before a runtime has threads and before the library is loaded.
    ///
    /// # Errors
    ///
    /// A usage error if the system has no Landlock; its hint names the flag of `mpsync engine` that does without.
    pub fn apply(&self) -> Result<()> {
        let library = crate::library::library_path()?;
        crate::lifecycle::make_folder(&self.data_dir)?;
        imp::apply(self, &library)
    }
}

/// Returns the error of a system without Landlock.
fn unsupported(cause: impl std::fmt::Display) -> Error {
    Error::usage(format!(
        "the system cannot confine the engine's process: {cause}"
    ))
    .with_hint(
        "use Linux 5.19 or newer with Landlock; --unconfined, or MPSYNC_ENGINE_UNCONFINED=true, runs the engine \
         without confinement: then only the statement policy keeps statements from other files",
    )
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use super::{Confinement, Error, Path, Result, unsupported};

    pub(super) fn apply(_: &Confinement, _: &Path) -> Result<()> {
        Err(unsupported("it is not Linux"))
    }
}

#[cfg(target_os = "linux")]
mod imp {
    use std::collections::BTreeMap;

    use landlock::{
        ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, NetPort, Ruleset,
        RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
        path_beneath_rules,
    };
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

    use super::{Confinement, Error, Path, PathBuf, Result, unsupported};

    /// The rights without which tables cannot be moved between folders: Linux 5.19.
    const LEAST: ABI = ABI::V2;
    /// The rights that are used where the kernel has them.
    const WANTED: ABI = ABI::V5;

    /// Files and folders of the system that the library, the C library and the allocator read. Those that do not exist
    /// are skipped.
    static SYSTEM: [&str; 43] = [
        // Libraries.
        "/lib",
        "/lib32",
        "/lib64",
        "/usr/lib",
        "/usr/lib32",
        "/usr/lib64",
        "/usr/local/lib",
        "/etc/ld.so.cache",
        "/etc/ld.so.preload",
        // Time zones.
        "/usr/share/zoneinfo",
        "/etc/localtime",
        "/etc/timezone",
        // Names and certificates of hosts, for `url()` and `s3()`.
        "/etc/resolv.conf",
        "/etc/hosts",
        "/etc/host.conf",
        "/etc/nsswitch.conf",
        "/etc/gai.conf",
        "/etc/services",
        "/etc/protocols",
        "/etc/ssl/certs",
        "/etc/ssl/cert.pem",
        "/etc/pki/tls/certs",
        "/etc/pki/ca-trust",
        "/etc/ca-certificates",
        "/usr/share/ca-certificates",
        // The process itself, and the machine's memory and processors.
        "/proc/self",
        "/proc/cpuinfo",
        "/proc/meminfo",
        "/proc/stat",
        "/proc/loadavg",
        "/proc/uptime",
        "/proc/version",
        "/proc/diskstats",
        "/proc/sys/vm",
        "/proc/sys/kernel",
        "/proc/sys/fs",
        "/sys/fs/cgroup",
        "/sys/devices/system",
        "/sys/kernel/mm",
        "/sys/block",
        "/dev/zero",
        "/dev/random",
        "/dev/urandom",
    ];

    pub(super) fn apply(confinement: &Confinement, library: &Path) -> Result<()> {
        let status = restrict(confinement, library).map_err(|e| match e {
            RulesetError::CreateRuleset(_) | RulesetError::HandleAccesses(_) => unsupported(e),
            other => Error::engine(format!("cannot confine the engine's process: {other}")),
        })?;
        if status.ruleset == RulesetStatus::NotEnforced || !status.no_new_privs {
            return Err(unsupported("the kernel has no Landlock"));
        }
        let filter =
            filter().map_err(|e| Error::engine(format!("cannot build the filter: {e}")))?;
        seccompiler::apply_filter_all_threads(&filter).map_err(|e| {
            unsupported(format_args!(
                "the kernel refuses the system call filter: {e}"
            ))
        })?;
        let all = status.ruleset == RulesetStatus::FullyEnforced;
        tracing::info!(all, data = %confinement.data_dir.display(), "engine confined");
        Ok(())
    }

    fn restrict(
        confinement: &Confinement,
        library: &Path,
    ) -> Result<landlock::RestrictionStatus, RulesetError> {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let write = AccessFs::from_all(WANTED) & !AccessFs::Execute;
        let readable = confinement.readable.iter().map(PathBuf::as_path);
        let readable = SYSTEM
            .iter()
            .map(Path::new)
            .chain([library])
            .chain(readable);
        Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(LEAST))?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(WANTED))?
            .handle_access(AccessNet::BindTcp)?
            .scope(Scope::AbstractUnixSocket | Scope::Signal)?
            .create()?
            .add_rules(path_beneath_rules(readable, read))?
            .add_rules(path_beneath_rules(
                ["/dev/null"],
                read | AccessFs::WriteFile,
            ))?
            .add_rules(path_beneath_rules([&confinement.data_dir], write))?
            .add_rule(NetPort::new(confinement.port, AccessNet::BindTcp))?
            .restrict_self()
    }

    /// Returns a filter that refuses to execute programs, to reach into other processes, and to change what the process
    /// sees of the system.
    fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
        let mut refused = vec![
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_pidfd_getfd,
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_move_mount,
            libc::SYS_open_tree,
            libc::SYS_fsopen,
            libc::SYS_pivot_root,
            libc::SYS_chroot,
            libc::SYS_setns,
            libc::SYS_unshare,
            libc::SYS_bpf,
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_delete_module,
            libc::SYS_kexec_load,
            libc::SYS_add_key,
            libc::SYS_request_key,
            libc::SYS_keyctl,
            libc::SYS_open_by_handle_at,
        ];
        if cfg!(target_arch = "x86_64") {
            // The same of the x32 ABI, whose calls have numbers of their own.
            const X32: i64 = 0x4000_0000;
            let others = refused
                .iter()
                .map(|number| X32 | number)
                .collect::<Vec<_>>();
            // `execve`, `ptrace`, `process_vm_readv`, `process_vm_writev`, `execveat`.
            let own = [520, 521, 539, 540, 545].map(|number| X32 | number);
            refused.extend(others);
            refused.extend(own);
        }
        let rules: BTreeMap<i64, Vec<seccompiler::SeccompRule>> = refused
            .into_iter()
            .map(|number| (number, Vec::new()))
            .collect();
        SeccompFilter::new(
            rules,
            SeccompAction::Allow,
            SeccompAction::Errno(libc::EPERM.unsigned_abs()),
            std::env::consts::ARCH.try_into()?,
        )?
        .try_into()
    }
}
