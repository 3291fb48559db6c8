# What only a Mac can say: its own tools mount, check and verify the images. Run on macOS, where hdiutil is.
BeforeAll {
    . (Join-Path $PSScriptRoot 'Common.ps1')
    $source = Join-Path $TestDrive 'Documents'
    New-SourceTree $source
}

Describe 'macOS and a <Format>' -Tag MacOS -ForEach @(
    @{ Format = 'Sparse'; Name = 'a.sparseimage' }
    @{ Format = 'SparseBundle'; Name = 'a.sparsebundle' }
    @{ Format = 'ReadWrite'; Name = 'rw.dmg' }
    @{ Format = 'ReadOnly'; Name = 'ro.dmg' }
    @{ Format = 'ReadOnlyZlib'; Name = 'z.dmg' }
) {
    BeforeAll {
        $image = (New-BackupImage $source (Join-Path $TestDrive $Name) -Format $Format -SizeBytes 256MB -VolumeName 'Mac Test').Path
        $readOnly = $Format -like 'ReadOnly*'
    }

    It 'attaches it, mounts the volume and reads every file' {
        $mount = Join-Path $TestDrive "mount-$Format"
        $null = New-Item $mount -ItemType Directory
        $device = $null
        try {
            $plist = & hdiutil attach -plist -nobrowse -readonly -mountpoint $mount $image | Out-String
            $LASTEXITCODE | Should -Be 0
            $device = [regex]::Matches($plist, '/dev/disk\d+') | ForEach-Object Value | Select-Object -First 1
            $hidden = '.fseventsd', '.Trashes', '.Spotlight-V100'
            $seen = Get-TreeDigest $mount | Where-Object { $_.Split('/')[0] -notin $hidden }
            $seen | Should -Be (Get-TreeDigest $source)
            (Get-Item (Join-Path $mount 'report.txt')).UnixMode | Should -Be '-rwxr-x--x'
            (Get-Item (Join-Path $mount 'link')).LinkTarget | Should -Be 'notes/draft.tmp'
        }
        finally { if ($device) { & hdiutil detach $device -force | Out-Null } }
    }

    It 'finds nothing wrong with the volume' {
        $device = $null
        try {
            $lines = & hdiutil attach -nomount -readonly $image
            $LASTEXITCODE | Should -Be 0
            $device = ($lines | Select-Object -First 1).Split()[0]
            $slice = ($lines | Where-Object { $_ -match 'Apple_HFS' }).Split()[0]
            & /sbin/fsck_hfs -fn $slice | Out-String | Write-Verbose
            $LASTEXITCODE | Should -Be 0
        }
        finally { if ($device) { & hdiutil detach $device -force | Out-Null } }
    }

    It 'verifies the checksums' -Skip:($Format -notlike 'ReadOnly*') {
        & hdiutil verify $image 2>&1 | Out-String | Write-Verbose
        $LASTEXITCODE | Should -Be 0
    }

    It 'writes to it, and it still reads' -Skip:($Format -like 'ReadOnly*') {
        $mount = Join-Path $TestDrive "write-$Format"
        $null = New-Item $mount -ItemType Directory
        & hdiutil attach -nobrowse -mountpoint $mount $image | Out-Null
        $LASTEXITCODE | Should -Be 0
        try { Set-Content (Join-Path $mount 'written by macOS.txt') 'hello' }
        finally { & hdiutil detach $mount -force | Out-Null }
        (Get-BackupImageItem $image -Include 'written by macOS.txt').SizeBytes | Should -Be 6
    }

    It 'recognises the format' {
        & hdiutil imageinfo -format $image | Should -Be (Get-BackupImage $image).FormatCode
    }
}

# What a Mac keeps of a file beside its content: made by its own programs, and read back by them from the mounted volume and from the restored folder.
Describe 'macOS'' metadata' -Tag MacOS {
    BeforeAll {
        # Birth, change, mode and flags; the attributes in hexadecimal; the access control list as ls shows it. Each line begins with the name.
        function Get-Metadata([string] $Path) {
            foreach ($name in 'file', 'link', 'sub', 'twin') {
                $item = Join-Path $Path $name
                "$name stat $(& /usr/bin/stat -f '%B %m %Lp %#Xf' $item)"
                foreach ($attribute in 'com.example.test', 'com.apple.FinderInfo', 'com.apple.ResourceFork') {
                    "$name $attribute $((& /usr/bin/xattr -spx $attribute $item 2>$null) -join ' ')"
                }
                foreach ($line in & /bin/ls -lde $item | Select-Object -Skip 1) { "$name list $($line.Trim())" }
            }
        }

        $folder = Join-Path $TestDrive 'metadata'
        $null = New-Item $folder, (Join-Path $folder 'sub') -ItemType Directory
        Set-Content (Join-Path $folder 'file') 'content'
        foreach ($name in 'file', 'sub') {
            $item = Join-Path $folder $name
            & /usr/bin/xattr -w com.example.test 'a value' $item
            & /usr/bin/xattr -wx com.apple.FinderInfo ('00' * 8 + '0400' + '00' * 22) $item
            & /bin/chmod +a 'everyone deny delete' $item
            & /bin/chmod +a 'group:staff allow read,readattr,readextattr,readsecurity' $item
        }
        & /usr/bin/xattr -wx com.apple.ResourceFork ('0102' * 50) (Join-Path $folder 'file')
        & /bin/ln -s file (Join-Path $folder 'link')
        & /bin/ln (Join-Path $folder 'file') (Join-Path $folder 'twin')
        Set-Content (Join-Path $folder 'plain') ('compressible ' * 10000)
        & /usr/bin/ditto --hfsCompression (Join-Path $folder 'plain') (Join-Path $folder 'compressed')
        & /usr/bin/touch -t 201802030405.06 (Join-Path $folder 'file')
        & /usr/bin/chflags hidden,uchg (Join-Path $folder 'file')
        & /usr/bin/chflags -h hidden (Join-Path $folder 'link')

        $image = (New-BackupImage $folder (Join-Path $TestDrive 'metadata.dmg')).Path
        $restored = Join-Path $TestDrive 'restored metadata'
        $null = Restore-BackupImage $image $restored
        $expected = Get-Metadata $folder
    }
    AfterAll { foreach ($path in $folder, $restored) { & /usr/bin/chflags -R nouchg $path; & /bin/chmod -RN $path } }

    It 'is there to be kept' {
        @($expected -match '^\S+ list .*everyone deny delete') | Should -HaveCount 3
        @($expected -match '^\S+ com\.apple\.ResourceFork (01 02 )+') | Should -HaveCount 2
        @($expected -match '^\S+ com\.example\.test 61 20') | Should -HaveCount 3
        @($expected -match '^file stat .* 0X8002$') | Should -HaveCount 1
        @($expected -match '^link stat .* 0X8000$') | Should -HaveCount 1
    }

    It 'comes back from the image' { Get-Metadata $restored | Should -Be $expected }

    It 'keeps a locked file with two names one file' { & /usr/bin/stat -f '%l' (Join-Path $restored 'file') | Should -Be 2 }

    It 'is what macOS reads in the volume' {
        $mounted = Mount-BackupImage $image -NoBrowse -PassThru
        try { Get-Metadata $mounted.MountPoints[0] | Should -Be $expected }
        finally { $mounted | Dismount-BackupImage -Force }
    }

    It 'leaves out the compression of the system, not the content' {
        (Get-FileHash (Join-Path $restored 'compressed')).Hash | Should -Be (Get-FileHash (Join-Path $folder 'plain')).Hash
    }

    It 'marks a bundle as a package, whatever its name' {
        $bundle = (New-BackupImage $folder (Join-Path $TestDrive 'without extension') -Format SparseBundle -SizeBytes 64MB).Path
        & /usr/bin/xattr -px com.apple.FinderInfo $bundle | Out-String | Should -Match '^(00 ){8}20'
    }
}

# What a Mac does to the source of a backup and to the volume it goes to: none of it shows elsewhere.
Describe 'Sources and destinations of macOS' -Tag MacOS {
    BeforeAll {
        function New-Volume([string] $FileSystem) {
            $image = Join-Path $TestDrive "volume-$FileSystem.dmg"
            $mount = Join-Path $TestDrive "volume-$FileSystem"
            $null = New-Item $mount -ItemType Directory
            & hdiutil create -quiet -size 512m -fs $FileSystem -volname CCITEST -layout GPTSPUD $image
            & hdiutil attach -quiet -nobrowse -mountpoint $mount $image
            $LASTEXITCODE | Should -Be 0
            $mount
        }
        $volumes = @{}
        foreach ($fileSystem in 'ExFAT', 'APFS') { $volumes[$fileSystem] = New-Volume $fileSystem }
    }
    AfterAll { foreach ($mount in $volumes.Values) { & hdiutil detach $mount -force | Out-Null } }

    It 'backs up from <_> and to it' -ForEach 'ExFAT', 'APFS' {
        $from = Join-Path $volumes[$_] 'Source'
        New-SourceTree $from
        foreach ($name in 'to.dmg', 'to.sparsebundle', 'to.sparseimage') {
            $image = (New-BackupImage $from (Join-Path $volumes[$_] $name) -SizeBytes 64MB).Path
            Test-BackupImage $image | Should -BeTrue
            Get-ChildItem $volumes[$_] -Force -Filter '*.partial' | Should -BeNullOrEmpty
        }
        $restored = Join-Path $TestDrive "restored-$_"
        $null = Restore-BackupImage (Join-Path $volumes[$_] 'to.dmg') $restored
        (Get-FileHash (Join-Path $restored 'report.txt')).Hash | Should -Be (Get-FileHash (Join-Path $from 'report.txt')).Hash
    }

    It 'does not take the files in which exFAT keeps attributes for files' {
        $from = Join-Path $volumes['ExFAT'] 'Attributes'
        $null = New-Item $from -ItemType Directory
        Set-Content (Join-Path $from 'file') 'content'
        & /usr/bin/xattr -w com.example.test 'a value' (Join-Path $from 'file')
        Set-Content (Join-Path $from '._alone') 'not what the system made'
        Join-Path $from '._file' | Should -Exist
        $image = (New-BackupImage $from (Join-Path $TestDrive 'beside.dmg')).Path
        $names = (Get-BackupImageItem $image).Name
        $names | Should -Contain 'file'
        $names | Should -Contain '._alone'
        $names | Should -Not -Contain '._file'
        $restored = Join-Path $TestDrive 'restored beside'
        $null = Restore-BackupImage $image $restored
        & /usr/bin/xattr -p com.example.test (Join-Path $restored 'file') | Should -Be 'a value'
    }

    It 'reads what was written just before and is not on the medium yet' {
        $from = Join-Path $volumes['APFS'] 'Dirty'
        $null = New-Item $from -ItemType Directory
        $path = Join-Path $from 'database'
        foreach ($round in 1..5) {
            # No sync, no close: what SEEK_HOLE has called a hole.
            $file = [System.IO.File]::Open($path, 'Create', 'ReadWrite', 'ReadWrite')
            try {
                $file.SetLength(64MB)
                $block = [byte[]]::new(64KB)
                foreach ($at in 0, 1MB, 33MB, (64MB - 64KB)) {
                    [System.Random]::new($round + $at).NextBytes($block)
                    $null = $file.Seek($at, 'Begin')
                    $file.Write($block)
                }
                $file.Flush($false)
                $image = (New-BackupImage $from (Join-Path $TestDrive 'dirty.dmg') -Force).Path
            }
            finally { $file.Dispose() }
            $restored = Join-Path $TestDrive "restored dirty $round"
            $null = Restore-BackupImage $image $restored
            (Get-FileHash (Join-Path $restored 'database')).Hash | Should -Be (Get-FileHash $path).Hash
        }
    }

    It 'runs from launchd' {
        $label = "ccimage.test.$([guid]::NewGuid().ToString('N'))"
        $image = Join-Path $TestDrive 'launchd.dmg'
        $script = Join-Path $TestDrive 'launchd.ps1'
        Set-Content $script "Import-Module '$ManifestPath'; New-BackupImage '$source' '$image' -IncludeCloudFiles -ErrorAction Stop | Out-Null"
        $plist = Join-Path $TestDrive "$label.plist"
        & /usr/libexec/PlistBuddy -c "Add :Label string $label" -c 'Add :RunAtLoad bool true' -c 'Add :ProgramArguments array' `
            -c "Add :ProgramArguments: string $((Get-Process -Id $PID).Path)" -c 'Add :ProgramArguments: string -NoProfile' -c 'Add :ProgramArguments: string -File' `
            -c "Add :ProgramArguments: string $script" $plist | Out-Null
        & launchctl bootstrap "gui/$(id -u)" $plist
        $LASTEXITCODE | Should -Be 0
        try {
            $limit = [datetime]::UtcNow.AddMinutes(2)
            while (-not (Test-Path $image) -and [datetime]::UtcNow -lt $limit) { Start-Sleep -Milliseconds 500 }
            Test-BackupImage $image | Should -BeTrue
        }
        finally { & launchctl bootout "gui/$(id -u)/$label" 2>&1 | Out-Null }
    }
}

Describe 'The keychain of macOS' -Tag MacOS {
    BeforeAll {
        # A keychain of its own that is the default one meanwhile: nobody's is touched, and it is known to be unlocked.
        $keychain = Join-Path $TestDrive 'test.keychain-db'
        $default = (& security default-keychain -d user).Trim().Trim('"')
        $searched = @(& security list-keychains -d user | ForEach-Object { $_.Trim().Trim('"') })
        & security create-keychain -p test $keychain
        & security unlock-keychain -p test $keychain
        & security set-keychain-settings $keychain
        & security list-keychains -d user -s $keychain @searched
        & security default-keychain -d user -s $keychain
        $secret = ConvertTo-SecureString 'correct horse – £' -AsPlainText -Force
        $other = ConvertTo-SecureString 'battery staple' -AsPlainText -Force

        # What should not ask might ask all the same, and nobody is there to answer.
        function Invoke-Limited([scriptblock] $Work, [object[]] $Arguments) {
            $job = Start-Job { param($manifest, $work, $arguments) Import-Module $manifest; & ([scriptblock]::Create($work)) @arguments } -ArgumentList $ManifestPath, "$Work", $Arguments
            try {
                if (-not ($job | Wait-Job -Timeout 120)) { throw 'Not finished after two minutes: something waits for an answer.' }
                $job | Receive-Job -ErrorAction Stop
            }
            finally { $job | Remove-Job -Force }
        }
        function Get-ImageIdentifier([string] $Image) { [regex]::Match((& hdiutil isencrypted $Image 2>&1 | Out-String), 'uuid:?\s+([0-9A-Fa-f-]{36})').Groups[1].Value }
        function Get-KeychainText([string] $Account) { & security find-generic-password -a $Account $keychain 2>&1 | Out-String }
    }
    AfterAll {
        & security default-keychain -d user -s $default
        & security list-keychains -d user -s @searched
        & security delete-keychain $keychain
    }

    It 'has an item as the system makes them, under the identifier that hdiutil tells' {
        $image = Join-Path $TestDrive 'saved.sparsebundle'
        $made = Invoke-Limited { param($s, $i, $p) New-BackupImage $s $i -SizeBytes 64MB -Encryption Aes256 -Passphrase $p -SaveToKeychain } $source, $image, $secret
        $made.Path | Should -Be $image
        $identifier = Get-ImageIdentifier $image
        $identifier | Should -Match '^[0-9A-F-]{36}$'
        $text = Get-KeychainText $identifier
        $text | Should -Match '"desc"<blob>="disk image password"'
        $text | Should -Match '"svce"<blob>="saved.sparsebundle"'
    }

    It 'opens what was saved, and says what was not' {
        $image = Join-Path $TestDrive 'read.dmg'
        $null = Invoke-Limited { param($s, $i, $p) New-BackupImage $s $i -Encryption Aes128 -Passphrase $p -SaveToKeychain } $source, $image, $secret
        (Invoke-Limited { param($i) Get-BackupImage $i -FromKeychain } (, $image)).IsLocked | Should -BeFalse
        Invoke-Limited { param($i) Test-BackupImage $i -FromKeychain } (, $image) | Should -BeTrue
        $unknown = (New-BackupImage $source (Join-Path $TestDrive 'unknown.dmg') -Encryption Aes128 -Passphrase $secret).Path
        Invoke-Limited { param($i) try { Get-BackupImage $i -FromKeychain -ErrorAction Stop } catch { $_.FullyQualifiedErrorId } } (, $unknown) | Should -BeLike 'KeychainItemNotFound,*'
    }

    It 'follows a change of the passphrase, and knows a converted image' {
        $image = Join-Path $TestDrive 'changed.dmg'
        $archive = Join-Path $TestDrive 'archive.dmg'
        $null = Invoke-Limited { param($s, $i, $p) New-BackupImage $s $i -Encryption Aes128 -Passphrase $p -SaveToKeychain } $source, $image, $secret
        Invoke-Limited { param($i, $n) Set-BackupImagePassphrase $i -FromKeychain -NewPassphrase $n -SaveToKeychain } $image, $other
        Test-BackupImage $image -Passphrase $other | Should -BeTrue
        $null = Invoke-Limited { param($i, $a) ConvertTo-ReadOnlyImage $i $a -FromKeychain -SaveToKeychain } $image, $archive
        Get-ImageIdentifier $archive | Should -Not -Be (Get-ImageIdentifier $image)
        Invoke-Limited { param($i) Test-BackupImage $i -FromKeychain } (, $archive) | Should -BeTrue
        Test-BackupImage $archive -Passphrase $other | Should -BeTrue
    }

    It 'lets hdiutil attach without a passphrase, once the programs of the system are allowed' {
        $image = Join-Path $TestDrive 'unattended.dmg'
        $null = Invoke-Limited { param($s, $i, $p) New-BackupImage $s $i -Encryption Aes256 -Passphrase $p -SaveToKeychain } $source, $image, $secret

        # What a person does by answering "Always Allow".
        & security set-generic-password-partition-list -S 'apple:,apple-tool:' -a (Get-ImageIdentifier $image) -k test $keychain | Out-Null
        $LASTEXITCODE | Should -Be 0
        $mount = Join-Path $TestDrive 'unattended'
        $null = New-Item $mount -ItemType Directory
        $attach = Start-Process hdiutil -ArgumentList 'attach', '-nobrowse', '-readonly', '-mountpoint', $mount, $image -PassThru -RedirectStandardOutput (Join-Path $TestDrive 'attach.txt')
        try {
            $attach.WaitForExit(60000) | Should -BeTrue -Because 'nothing should be asked'
            $attach.ExitCode | Should -Be 0
            Join-Path $mount 'report.txt' | Should -Exist
        }
        finally {
            if (-not $attach.HasExited) { $attach.Kill($true) }
            if (Test-Path (Join-Path $mount 'report.txt')) { & hdiutil detach $mount -force | Out-Null }
        }
    }
}

# Which program attaches, and whether diskutil could be trusted with a passphrase: as long as the last test here has passed nowhere, it gets none.
Describe 'The programs that attach' -Tag MacOS {
    BeforeDiscovery { $hasDiskutil = $IsMacOS -and (& /usr/sbin/diskutil image attach --help 2>&1 | Out-String) -match '--plist' }
    BeforeAll {
        $image = (New-BackupImage $source (Join-Path $TestDrive 'attach.dmg') -VolumeName 'Attach').Path
        $secret = ConvertTo-SecureString 'correct hörse' -AsPlainText -Force
        $locked = (New-BackupImage $source (Join-Path $TestDrive 'locked.dmg') -VolumeName 'Locked' -Encryption Aes256 -Passphrase $secret).Path
        $isNew = [Environment]::OSVersion.Version.Major -ge 27
        function Get-Program([scriptblock] $Command) { @(& $Command 4>&1 | Where-Object { "$_" -match '^/usr/s?bin/\S+ .*attach' } | ForEach-Object { "$_".Split(' ')[0] }) }

        # Gives a program its input to the last byte, and no line feed after it.
        function Invoke-WithInput([string] $Program, [string[]] $Arguments, [string] $Text) {
            $start = [Diagnostics.ProcessStartInfo]@{ FileName = $Program; RedirectStandardInput = $true; RedirectStandardOutput = $true; RedirectStandardError = $true }
            foreach ($argument in $Arguments) { $start.ArgumentList.Add($argument) }
            $process = [Diagnostics.Process]::Start($start)
            $bytes = [Text.Encoding]::UTF8.GetBytes($Text)
            $process.StandardInput.BaseStream.Write($bytes, 0, $bytes.Length)
            $process.StandardInput.Close()
            $output = $process.StandardOutput.ReadToEndAsync()
            $problem = $process.StandardError.ReadToEndAsync()
            if (-not $process.WaitForExit(60000)) { $process.Kill($true); throw "$Program waits for an answer." }
            [pscustomobject]@{ ExitCode = $process.ExitCode; Output = $output.Result; Problem = $problem.Result }
        }
    }
    AfterEach { foreach ($path in $image, $locked) { Dismount-BackupImage $path -Force -ErrorAction Ignore } }

    It 'is hdiutil where it is not deprecated, and diskutil first where it is' {
        $first = (Get-Program { Mount-BackupImage $image -Verbose })[0]
        $first | Should -Be ($isNew ? '/usr/sbin/diskutil' : '/usr/bin/hdiutil')
    }

    It 'is hdiutil for what has a passphrase' {
        Get-Program { Mount-BackupImage $locked -Passphrase $secret -Verbose } | Should -Be '/usr/bin/hdiutil'
    }

    It 'diskutil attaches an image, and its answer names the device and the mount point' -Skip:(-not $hasDiskutil) {
        $run = Invoke-WithInput /usr/sbin/diskutil @('image', 'attach', '--plist', $image) ''
        $run.ExitCode | Should -Be 0 -Because $run.Problem
        $run.Output | Should -Match 'disk\d+'
        $run.Output | Should -Match '/Volumes/Attach'
    }

    It 'diskutil reads a passphrase as it is, and refuses another in words that are known' -Skip:(-not $hasDiskutil) {
        $wrong = Invoke-WithInput /usr/sbin/diskutil @('image', 'attach', '--plist', '--stdinpassphrase', $locked) 'wrong'
        $wrong.ExitCode | Should -Not -Be 0
        "$($wrong.Problem) $($wrong.Output)" | Should -Match 'Authentication error'
        $run = Invoke-WithInput /usr/sbin/diskutil @('image', 'attach', '--plist', '--stdinpassphrase', $locked) 'correct hörse'
        $run.ExitCode | Should -Be 0 -Because $run.Problem
        $run.Output | Should -Match '/Volumes/Locked'
    }
}
