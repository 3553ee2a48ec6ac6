package events

// Kind names what an event reports. The strings are stored and printed: they never change.
type Kind string

// The kinds of events. Each comment names what happened; the event's message says why.
const (
	AbortFailed       Kind = "abort-failed"        // a provider did not abort a shadow copy set
	AreaFilling       Kind = "area-filling"        // a provider's space for the differences of copies is running out
	Arrival           Kind = "arrival"             // a LUN did not become a disk of this host
	AutoReleaseFailed Kind = "auto-release-failed" // the copies of an auto-release session were not deleted
	BreakFailed       Kind = "break-failed"        // a set was not broken
	BreakNotUndone    Kind = "break-not-undone"    // a failed break left something behind
	CatalogueDamaged  Kind = "catalogue-damaged"   // the catalogue may lack its last change
	CopyLost          Kind = "copy-lost"           // a shadow copy is invalid and was removed
	CreationDropped   Kind = "creation-dropped"    // recovery undid an unfinished creation
	CreationFinished  Kind = "creation-finished"   // recovery finished a creation that was complete
	CreationFailed    Kind = "creation-failed"     // DoSnapshotSet failed
	DeleteFailed      Kind = "delete-failed"       // a shadow copy was not deleted
	Departure         Kind = "departure"           // a disk was not removed from this host
	Dropped           Kind = "dropped"             // an array dropped a LUN for lack of space
	ExposeFailed      Kind = "expose-failed"       // a shadow copy was not exposed
	FlagsLeft         Kind = "flags-left"          // shadow copy flags are still set on an original
	GuardFailed       Kind = "guard-failed"        // a guard did not end as it should
	HoldOverrun       Kind = "hold-overrun"        // volumes were held for longer than the limit
	Hydrated          Kind = "hydrated"            // a plex copy shares no block with its original
	ImportFailed      Kind = "import-failed"       // a transportable set was not imported
	NotImported       Kind = "not-imported"        // a shadow copy of an imported set is missing
	NotMasked         Kind = "not-masked"          // a LUN that left this host is still shown to it
	PersistentMount   Kind = "persistent-mount"    // a mount that should persist was not restored
	PoolLow           Kind = "pool-low"            // a pool of an array is short of space
	ProviderFailed    Kind = "provider-failed"     // a provider's method returned an error
	ProviderJoined    Kind = "provider-joined"     // a provider's process was found and loaded
	ProviderLeft      Kind = "provider-left"       // a provider's process ended, or its socket was removed
	ProviderRefused   Kind = "provider-refused"    // the process behind a socket can't be a provider
	Remains           Kind = "remains"             // copies of an aborted set were not removed
	SetExpired        Kind = "set-expired"         // a set was open for too long and was aborted
	Thawed            Kind = "thawed"              // volumes were found held at start and were released
	VolumeRefused     Kind = "volume-refused"      // a volume was not added to a set
	WriterFailed      Kind = "writer-failed"       // a writer failed in a handler or did not respond
	WriterNotLoaded   Kind = "writer-not-loaded"   // a configured writer did not start
)

// Recovery returns the kind of an event that reports a step of recovery that failed, as in "recovery-creation".
func Recovery(step string) Kind { return Kind("recovery-" + step) }

// Severity ranks events. The strings are stored and printed: they never change.
type Severity string

// The severities.
const (
	Info    Severity = "info"
	Warning Severity = "warning"
	Error   Severity = "error"
)
