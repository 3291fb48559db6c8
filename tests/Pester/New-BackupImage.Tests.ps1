BeforeAll {
    . (Join-Path $PSScriptRoot 'Common.ps1')
    $source = Join-Path $TestDrive 'Documents'
    New-SourceTree $source
    $folder = Join-Path $TestDrive 'out'
    $null = New-Item $folder -ItemType Directory
}

Describe 'New-BackupImage' {
    It 'makes a <Format> that is read back as the same tree' -ForEach @(
        @{ Format = 'Sparse'; Name = 'a.sparseimage'; Code = 'UDSP' }
        @{ Format = 'SparseBundle'; Name = 'a.sparsebundle'; Code = 'UDSB' }
        @{ Format = 'ReadWrite'; Name = 'rw.dmg'; Code = 'UDRW' }
        @{ Format = 'ReadOnly'; Name = 'ro.dmg'; Code = 'UDRO' }
        @{ Format = 'ReadOnlyZlib'; Name = 'z.dmg'; Code = 'UDZO' }
    ) {
        $image = New-BackupImage $source (Join-Path $folder $Name) -Format $Format -SizeBytes 64MB
        $image | Should -BeOfType CCImage.BackupImage
        $image.Format | Should -Be $Format
        $image.FormatCode | Should -Be $Code
        $image.Volumes[0].Name | Should -Be 'Documents'
        $image.Report.Entries | Should -BeGreaterThan 8
        $restored = Join-Path $TestDrive "restored-$Format"
        $null = Restore-BackupImage $image.Path $restored
        Get-TreeDigest $restored | Should -Be (Get-TreeDigest $source)
    }

    It 'infers <Format> from <Extension>' -ForEach @(
        @{ Extension = '.sparseimage'; Format = 'Sparse' }, @{ Extension = '.sparsebundle'; Format = 'SparseBundle' }, @{ Extension = '.DMG'; Format = 'ReadOnlyZlib' }
    ) { (New-BackupImage $source (Join-Path $folder "inferred$Extension") -SizeBytes 64MB).Format | Should -Be $Format }

    It 'takes hdiutil''s codes in any case' { (New-BackupImage $source (Join-Path $folder 'code.img') -Format udro).Format | Should -Be 'ReadOnly' }

    It 'refuses an extension that tells nothing' {
        $e = { New-BackupImage $source (Join-Path $folder 'a.zip') } | Should -Throw -ErrorId 'InvalidArgument,*' -PassThru
        $e.CategoryInfo.Category | Should -Be 'InvalidArgument'
        $e.ErrorDetails.RecommendedAction | Should -Match '-Format'
    }

    It 'wants a source or a size' { { New-BackupImage -Path (Join-Path $folder 'nothing.dmg') } | Should -Throw -ErrorId 'InvalidArgument,*' }

    It 'makes an empty image' {
        $image = New-BackupImage -Path (Join-Path $folder 'empty.sparseimage') -SizeBytes 100MB -VolumeName Scratch
        $image.Volumes[0].Name | Should -Be 'Scratch'
        @(Get-BackupImageItem $image.Path | Where-Object Name -notlike '.*').Count | Should -Be 0
    }

    It 'says with -WhatIf what would be written, and writes nothing' {
        $target = Join-Path $folder 'whatif.dmg'
        # The what-if message goes to the host, past every stream.
        $text = Invoke-PowerShell "Import-Module '$ManifestPath'; New-BackupImage '$source' '$target' -WhatIf"
        $text | Should -Match 'What if: .*entries.*content.*capacity.*on disk.*available'
        Test-Path $target | Should -BeFalse
        Get-ChildItem $folder -Filter 'whatif*' -Force | Should -BeNullOrEmpty
    }

    It 'leaves an image that exists alone unless forced' {
        $target = Join-Path $folder 'twice.dmg'
        $null = New-BackupImage $source $target
        $hash = (Get-FileHash $target).Hash
        $e = { New-BackupImage $source $target } | Should -Throw -ErrorId 'DestinationExists,*' -PassThru
        $e.TargetObject | Should -Be $target
        (Get-FileHash $target).Hash | Should -Be $hash
        (New-BackupImage $source $target -Force).Path | Should -Be $target
    }

    It 'replaces nothing but images: not a folder of that name, not a letter' {
        $target = Join-Path $folder 'Letters.sparsebundle'
        $letter = New-Item (Join-Path $target 'letter.txt') -Value 'dear' -Force
        { New-BackupImage $source $target -Force } | Should -Throw -ErrorId 'DestinationExists,*'
        Get-Content $letter | Should -Be 'dear'
        $target = New-Item (Join-Path $folder 'letter.dmg') -Value 'dear'
        { New-BackupImage $source $target -Force } | Should -Throw -ErrorId 'DestinationExists,*'
        Get-Content $target | Should -Be 'dear'
    }

    It 'refuses what an unfinished run has left' {
        $null = New-BackupImage -Path (Join-Path $folder 'whole.dmg') -SizeBytes 20MB
        Rename-Item (Join-Path $folder 'whole.dmg') 'whole.dmg.partial'
        { Get-BackupImage (Join-Path $folder 'whole.dmg.partial') -ErrorAction Stop } | Should -Throw -ErrorId 'ImageDamaged,*'
        Remove-Item (Join-Path $folder 'whole.dmg.partial')
    }

    It 'refuses -Preallocate with a format that cannot, and a size beyond all measure' {
        { New-BackupImage $source (Join-Path $folder 'never.sparsebundle') -Preallocate } | Should -Throw -ErrorId 'InvalidArgument,*'
        { New-BackupImage -Path (Join-Path $folder 'never.sparsebundle') -SizeBytes 4611686018427387904 } | Should -Throw -ErrorId 'InvalidArgument,*'
        Get-ChildItem $folder -Filter 'never*' | Should -BeNullOrEmpty
    }

    It 'leaves nothing when the process is ended by a signal' -Skip:$IsWindows {
        $large = New-Item (Join-Path $folder 'large') -ItemType Directory
        foreach ($i in 1..12) { [IO.File]::WriteAllBytes((Join-Path $large $i), [Security.Cryptography.RandomNumberGenerator]::GetBytes(16MB)) }
        $out = New-Item (Join-Path $folder 'signalled') -ItemType Directory
        $target = Join-Path $out 'x.sparsebundle'
        $script = Join-Path $folder 'signalled.ps1'
        Set-Content $script "`$PID | Set-Content '$folder/signalled.pid'; Import-Module '$ManifestPath'; New-BackupImage '$large' '$target'"

        # Installed as a tool, PowerShell is a program of the runtime's.
        $shell = (Get-Process -Id $PID).Path
        $arguments = @('-NoProfile', '-File', $script)
        if ((Split-Path $shell -LeafBase) -eq 'dotnet') { $arguments = @([Environment]::GetCommandLineArgs()[0]) + $arguments }
        $process = Start-Process $shell $arguments -PassThru -RedirectStandardOutput (Join-Path $folder 'signalled.log')
        $deadline = [DateTime]::UtcNow.AddSeconds(60)
        while (-not (Test-Path "$target.partial/image") -and -not $process.HasExited -and [DateTime]::UtcNow -lt $deadline) { Start-Sleep -Milliseconds 20 }
        & kill -TERM (Get-Content (Join-Path $folder 'signalled.pid'))
        $process.WaitForExit(60000) | Should -BeTrue
        Get-ChildItem $out -Force | Should -BeNullOrEmpty
    }

    It 'replaces a bundle, whatever its name is' {
        $target = Join-Path $folder 'Replaced.backup'
        $null = New-BackupImage $source $target -Format SparseBundle -SizeBytes 20MB
        { New-BackupImage $source $target -Format SparseBundle -SizeBytes 20MB } | Should -Throw -ErrorId 'DestinationExists,*'
        (New-BackupImage $source $target -Format SparseBundle -SizeBytes 20MB -Force).Path | Should -Be $target
        Get-ChildItem $target -Filter *.sparsebundle | Should -BeNullOrEmpty
    }

    It 'names the image where it is the image that cannot be made' {
        $target = Join-Path $folder 'bands.sparsebundle'
        $e = { New-BackupImage $source $target -BandSizeBytes 12345 } | Should -Throw -ErrorId 'InvalidArgument,*' -PassThru
        $e.Exception.Message | Should -Match ([regex]::Escape($target))
    }

    It 'names a source that does not exist' {
        $e = { New-BackupImage (Join-Path $TestDrive 'nosuch') (Join-Path $folder 'n.dmg') } | Should -Throw -ErrorId 'SourceNotFound,*' -PassThru
        $e.CategoryInfo.Category | Should -Be 'ObjectNotFound'
    }

    It 'names a folder of the destination that does not exist' {
        { New-BackupImage $source ((Join-Path $folder 'Missing') + '/') -Format UDZO } | Should -Throw -ErrorId 'DestinationNotFound,*'
        Join-Path $folder 'Missing' | Should -Not -Exist
        { New-BackupImage $source (Join-Path $folder 'no/such/n.dmg') } | Should -Throw -ErrorId 'DestinationNotFound,*'
    }

    It 'refuses a capacity that is too small' { { New-BackupImage $source (Join-Path $folder 's.dmg') -SizeBytes 100KB } | Should -Throw -ErrorId 'CapacityTooSmall,*' }

    It 'compresses with <_>, and its files come back' -ForEach 'ULFO', 'ULMO', 'UDBZ' {
        $image = New-BackupImage $source (Join-Path $folder "compressed-$_.dmg") -Format $_
        (Get-BackupImage $image.Path).FormatCode | Should -Be $_
        $restored = Join-Path $folder "restored-$_"
        Restore-BackupImage $image.Path $restored | Out-Null
        Get-TreeDigest $restored | Should -Be (Get-TreeDigest $source)
    }

    It 'says that LZFSE has no levels' {
        { New-BackupImage $source (Join-Path $folder 'level.dmg') -Format ULFO -CompressionLevel 3 } | Should -Throw -ErrorId 'InvalidArgument,*'
    }

    It 'leaves out what is excluded' {
        $image = New-BackupImage $source (Join-Path $folder 'ex.dmg') -Exclude *.tmp, cache
        $names = (Get-BackupImageItem $image.Path).Name
        $names | Should -Not -Contain 'draft.tmp'
        $names | Should -Not -Contain 'cache'
        $names | Should -Not -Contain 'index'
        $names | Should -Contain 'report.txt'
    }

    It 'counts what is excluded, names it with -Verbose, and warns of a pattern that does nothing' {
        $image = New-BackupImage $source (Join-Path $folder 'ex2.dmg') -Exclude *.tmp, *.nosuch -Verbose -WarningVariable warnings -WarningAction SilentlyContinue 4>&1
        $verbose = $image | Where-Object { $_ -is [System.Management.Automation.VerboseRecord] }
        @($verbose -match "draft\.tmp was left out: it matches the pattern '\*\.tmp'").Count | Should -Be 1
        ($image | Where-Object { $_ -is [CCImage.BackupImage] }).Report.Excluded | Should -Be 1
        @($warnings -match "'\*\.nosuch' to exclude matched nothing").Count | Should -Be 1
        @($warnings -match "'\*\.tmp'").Count | Should -Be 0
    }

    It 'makes a read/write image of a .dmg that is to be filled' {
        (New-BackupImage -Path (Join-Path $folder 'scratch.dmg') -SizeBytes 10MB).Format | Should -Be 'ReadWrite'
        (New-BackupImage -Path (Join-Path $folder 'scratch2.dmg') -SizeBytes 10MB -Format UDZO).Format | Should -Be 'ReadOnlyZlib'
    }

    It 'refuses -Preallocate where nothing can be reserved, and a size beyond every volume' {
        { New-BackupImage $source (Join-Path $folder 'p.sparseimage') -Preallocate } | Should -Throw -ErrorId 'InvalidArgument,*'
        foreach ($size in [long]::MaxValue, ([long]1 -shl 62)) {
            { New-BackupImage $source (Join-Path $folder 'p.sparsebundle') -SizeBytes $size } | Should -Throw -ErrorId 'InvalidArgument,*'
        }
        Get-ChildItem $folder -Filter 'p.*' -Force | Should -BeNullOrEmpty
    }

    It 'advises a size that is enough' {
        $e = { New-BackupImage $source (Join-Path $folder 'advice.dmg') -SizeBytes 100KB } | Should -Throw -ErrorId 'CapacityTooSmall,*' -PassThru
        $e.Exception.Message -match 'size of (\d+) bytes' | Should -BeTrue
        (New-BackupImage $source (Join-Path $folder 'advice.dmg') -SizeBytes ([long]$Matches[1])).CapacityBytes | Should -Be ([long]$Matches[1])
    }

    Context 'Names that differ in case only' -Skip:(-not $IsLinux) {
        BeforeAll {
            $twins = New-Item (Join-Path $TestDrive 'Twins') -ItemType Directory
            foreach ($name in 'readme', 'README', 'other') { Set-Content (Join-Path $twins $name) $name }
        }

        It 'make the volume case-sensitive, with one warning' {
            $image = New-BackupImage $twins (Join-Path $folder 'twins.dmg') -WarningVariable warnings -WarningAction SilentlyContinue
            $image.Volumes[0].Kind | Should -Be 'HfsPlusCaseSensitive'
            @($warnings).Count | Should -Be 1
            $warnings[0] | Should -Match 'HFSX'
        }

        It 'are an error when the file system was chosen' {
            $e = { New-BackupImage $twins (Join-Path $folder 'twins2.dmg') -FileSystem HfsPlus } | Should -Throw -ErrorId 'SourceNotRepresentable,*' -PassThru
            $e.ErrorDetails.RecommendedAction | Should -Match '-SkipUnreadable'
            Join-Path $folder 'twins2.dmg' | Should -Not -Exist
        }

        It 'are left out on request: the image stands, and the result is an error' {
            $target = Join-Path $folder 'twins3.dmg'
            $image = New-BackupImage $twins $target -FileSystem HfsPlus -SkipUnreadable -WarningAction SilentlyContinue -ErrorAction SilentlyContinue -ErrorVariable errors
            $? | Should -BeFalse
            @($errors).Count | Should -Be 1
            $errors[0].FullyQualifiedErrorId | Should -BeLike 'BackedUpInPart,*'
            $errors[0].TargetObject | Should -Be $target
            $image.Report.Skipped.Path | Should -Be (Join-Path $twins 'readme')
            (Get-BackupImageItem $target).Name | Should -Contain 'README'
            { New-BackupImage $twins $target -Force -FileSystem HfsPlus -SkipUnreadable -WarningAction SilentlyContinue -ErrorAction Stop } | Should -Throw -ErrorId 'BackedUpInPart,*'
            $target | Should -Exist
        }
    }

    It 'makes an image for each source of a pipeline' {
        $target = New-Item (Join-Path $folder 'each') -ItemType Directory
        New-SourceTree (Join-Path $TestDrive 'Projects/Alpha')
        New-SourceTree (Join-Path $TestDrive 'Projects/Beta')
        $images = Get-ChildItem (Join-Path $TestDrive 'Projects') | New-BackupImage -Path $target -Format UDZO
        $images.Path | Should -Be (Join-Path $target 'Alpha.dmg'), (Join-Path $target 'Beta.dmg')
    }

    It 'does not let a second source replace the image of the first' {
        $target = Join-Path $folder 'one.dmg'
        $images = $source, $source | New-BackupImage -Path $target -Force -ErrorAction SilentlyContinue -ErrorVariable errors
        @($images).Count | Should -Be 1
        $errors[0].FullyQualifiedErrorId | Should -BeLike 'DestinationExists,*'
    }

    It 'goes on with the next source after one that fails' {
        $target = New-Item (Join-Path $folder 'goon') -ItemType Directory
        $images = (Join-Path $TestDrive 'nosuch'), $source | New-BackupImage -Path $target -Format UDRO -ErrorAction SilentlyContinue -ErrorVariable errors
        @($images).Count | Should -Be 1
        $errors[0].FullyQualifiedErrorId | Should -BeLike 'SourceNotFound,*'
    }

    It 'refuses a SOURCE_DATE_EPOCH that is no number' {
        $env:SOURCE_DATE_EPOCH = '2026-11-23'
        try { { New-BackupImage $source (Join-Path $TestDrive 'epoch.dmg') -ErrorAction Stop } | Should -Throw -ErrorId 'InvalidArgument*' }
        finally { $env:SOURCE_DATE_EPOCH = $null }
        Join-Path $TestDrive 'epoch.dmg' | Should -Not -Exist
    }

    It 'gives the same bytes for the same source when SOURCE_DATE_EPOCH is set' {
        $env:SOURCE_DATE_EPOCH = '1700000000'
        try {
            $hashes = 1, 2 | ForEach-Object { (Get-FileHash (New-BackupImage $source (Join-Path $folder "same$_.dmg") -VolumeName Same).Path).Hash }
            $hashes[0] | Should -Be $hashes[1]
        }
        finally { $env:SOURCE_DATE_EPOCH = $null }
    }

    It 'leaves nothing behind when it is stopped, and stops soon' {
        $big = Join-Path $TestDrive 'big'
        $null = New-Item $big -ItemType Directory

        # bzip2 takes its time over text. Noise is recognised and stored as it is: on a quiet machine it was through before it could be stopped.
        $noise = [byte[]]::new(12MB)
        1..12 | ForEach-Object { [Random]::new($_).NextBytes($noise); [IO.File]::WriteAllText((Join-Path $big "$_.txt"), [Convert]::ToBase64String($noise)) }
        $target = Join-Path (New-Item (Join-Path $folder 'stopped') -ItemType Directory) 'big.dmg'
        $shell = [powershell]::Create()
        $null = $shell.AddScript("Import-Module '$ManifestPath'; New-BackupImage '$big' '$target' -Format ReadOnlyBzip2 -CompressionLevel 9")
        $lifetime = [Diagnostics.Stopwatch]::StartNew()
        $running = $shell.BeginInvoke()
        $deadline = [DateTime]::UtcNow.AddSeconds(20)
        while (-not (Get-ChildItem (Split-Path $target) -Force) -and -not $running.IsCompleted -and [DateTime]::UtcNow -lt $deadline) { Start-Sleep -Milliseconds 20 }

        # In the middle of the writing, however fast the machine is.
        while ($shell.Streams.Progress.Count -eq 0 -and -not $running.IsCompleted -and [DateTime]::UtcNow -lt $deadline) { Start-Sleep -Milliseconds 5 }
        $running.IsCompleted | Should -BeFalse
        $watch = [Diagnostics.Stopwatch]::StartNew()
        $shell.Stop()
        $watch.Elapsed.TotalSeconds | Should -BeLessThan 3
        $shell.Streams.Progress.Count | Should -BeGreaterThan 0
        $shell.Streams.Progress.Count | Should -BeLessOrEqual ($lifetime.Elapsed.TotalSeconds * 10 + 2) -Because 'every record costs the host a redraw'
        $shell.InvocationStateInfo.State | Should -Be 'Stopped'
        Get-ChildItem (Split-Path $target) -Force | Should -BeNullOrEmpty
        Remove-Item $big -Recurse
    }
}
