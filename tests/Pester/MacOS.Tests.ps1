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
